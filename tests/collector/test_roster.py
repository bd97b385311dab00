from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.identity import Identity
from collector.roster import Roster


def card(name: str, index: int, slot: str | None = None) -> Identity:
    return Identity(index, f"GPU-{name}", slot or f"slot-{name}", None, None)


def test_a_card_that_moves_to_another_index_keeps_its_history():
    roster = Roster()
    for index, name in enumerate("abc"):
        roster.learn(card(name, index))
    c = roster.at(2)
    assert c is not None
    c.last_good_s = 7.0
    roster.learn(card("c", 1))  # b is gone, and what came after it moved up
    moved = roster.at(1)
    assert moved is c
    assert moved.last_good_s == 7.0
    assert roster.at(2) is None
    assert {g.identity.uuid: roster.has_place(g) for g in roster} == {
        "GPU-a": True,
        "GPU-b": False,
        "GPU-c": True,
    }


def test_another_card_in_the_same_slot_was_swapped_in_and_the_old_one_is_not_missed():
    roster = Roster()
    roster.learn(card("old", 0, slot="0000:18:00"))
    out = roster.learn(card("new", 0, slot="0000:18:00"))
    assert out is not None
    assert out.identity.uuid == "GPU-old"
    assert [g.identity.uuid for g in roster] == ["GPU-new"]


def test_what_hung_before_it_had_a_name_keeps_its_pause_when_it_gets_one():
    roster = Roster()
    roster.at_or_suspect(3).pause_s = 8.0
    assert list(roster) == []
    roster.learn(card("d", 3))
    (named,) = roster
    assert (named.pause_s, named.identity.uuid) == (8.0, "GPU-d")


@given(
    st.lists(st.permutations("abcdef").flatmap(lambda p: st.integers(0, 6).map(lambda n: p[:n])), max_size=8)
)
def test_whoever_answers_where_no_card_is_ever_forgotten_or_counted_twice(sights: list[list[str]]):
    """Each element is one NVML start: which cards (each in its own slot) answer, in index order."""
    roster, seen = Roster(), set[str]()
    for cards in sights:
        for index, name in enumerate(cards):
            roster.learn(card(name, index))
        seen |= set(cards)
        assert sorted(g.identity.uuid for g in roster) == sorted(f"GPU-{n}" for n in seen)
        answering = [roster.at(i) for i in range(len(cards))]
        assert [g.identity.uuid for g in answering if g] == [f"GPU-{n}" for n in cards]
        assert all(roster.has_place(g) for g in answering if g)
