from pathlib import Path

from collector import runbook_docs, xid_catalogue


def test_the_runbook_is_fresh():
    page = Path(__file__).parents[2] / "docs" / "runbook.md"
    assert page.read_text() == runbook_docs.page(), "python -m collector.runbook_docs > docs/runbook.md"


def test_every_cause_that_opens_an_incident_has_its_section():
    causes = ["predicted_fault", "gpu_lost", "gpu_missing", "nvml_hang"]
    causes += [f"xid_{code}" for code in xid_catalogue.shipped() if xid_catalogue.is_terminal(code)]
    assert len(causes) > 10
    assert [c for c in causes if f'<a id="{c}"></a>' not in runbook_docs.page()] == []
