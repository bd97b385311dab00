from effective_time.nodes import Nodes


def test_a_spare_takes_the_place_of_a_node_that_leaves():
    nodes = Nodes(3, 2)
    nodes.leave(0)
    assert (nodes.works(0), nodes.works(2), nodes.lacking) == (False, True, 0)


def test_without_a_spare_the_job_is_short_until_one_comes_back():
    nodes = Nodes(2, 2)
    nodes.leave(0)
    nodes.leave(1)
    assert nodes.lacking == 2
    nodes.come_back(1)
    assert (nodes.lacking, nodes.works(1)) == (1, True)


def test_a_closed_node_keeps_its_job_until_the_job_starts_anew():
    nodes = Nodes(3, 2)
    nodes.close(0)
    assert nodes.works(0)
    nodes.start_anew()
    assert (nodes.works(0), nodes.is_away(0), nodes.works(2)) == (False, True, True)


def test_a_closed_node_that_is_opened_again_stays():
    nodes = Nodes(3, 2)
    nodes.close(0)
    nodes.come_back(0)
    nodes.start_anew()
    assert nodes.works(0)


def test_a_closed_spare_is_away_at_once_and_a_node_that_is_there_cannot_come_back():
    nodes = Nodes(3, 2)
    nodes.close(2)
    assert nodes.is_away(2)
    nodes.come_back(0)
    nodes.leave(1)
    assert nodes.lacking == 1, "node 0 is in the job once, not also spare"
