"""Where servers are allowed to differ: the one list of it."""

# Checks that the reference fails because ours is deliberately better, and why.
BETTER = {
    "test_tracking.py::test_a_deleted_experiment_is_not_renamed": (
        "the reference answers 500, which its client repeats for minutes"
    ),
}

# Checks that our server fails as yet, and what is missing. Empty when it speaks the whole dialect.
PENDING = {}
