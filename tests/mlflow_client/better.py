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
    "test_artifacts.py::test_a_large_file_goes_in_parts": (
        "the reference takes parts only where its store is a bucket"
    ),
    "test_artifacts.py::test_a_failed_upload_in_parts_leaves_nothing": (
        "the reference takes parts only where its store is a bucket"
    ),
    "test_artifacts.py::test_a_foreign_folder_is_no_location": (
        "the reference lets clients name any folder of its machine"
    ),
}

# Checks that our server fails as yet, and what is missing. Empty when it speaks the whole dialect.
PENDING = {}
