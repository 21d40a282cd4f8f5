import pickle

from utils.errors import UserError


def test_an_error_arrives_from_a_worker_process_as_it_left():
    error = UserError("31", "--threshold", "0 to 1", "give another --threshold")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.what, copy.where, copy.rule, copy.remedy) == (
        "31",
        "--threshold",
        "0 to 1",
        "give another --threshold",
    )
    assert str(copy) == str(error) == "--threshold: 31: 0 to 1: give another --threshold"


def test_parts_that_are_not_given_leave_no_mark():
    assert str(UserError("nothing to do", remedy="run demo.sh")) == "nothing to do: run demo.sh"
