"""Where servers are allowed to differ: the one list of it."""

# Checks that the reference fails because ours is deliberately better, and why.
BETTER = {
    "test_tracking.py::test_a_deleted_experiment_is_not_renamed": (
        "the reference answers 500, which its client repeats for minutes"
    ),
    "test_search.py::test_a_bad_token_of_logged_models_is_refused": "the reference answers 500",
    "test_datasets.py::test_a_data_set_is_named_without_its_digest": (
        "the reference's server looks for the empty digest then"
    ),
    "test_search.py::test_equal_orders_are_refused": "the reference answers 500",
}

# Checks that our server fails as yet, and what is missing. Empty when it speaks the whole dialect.
PENDING = {}
