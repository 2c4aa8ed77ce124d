"""Writes every endpoint of MLflow's own server, one `METHOD /path` a line.

    venv/bin/python make_route_list.py ../../registry/tests/fixtures/mlflow_routes.txt

Those of its descriptors, and those outside of them: Flask's rules and FastAPI's routes.
`registry/tests/it/routes.rs` holds our router and docs/mlflow-routes.md against it.
"""

import re
import sys

from fastapi.routing import APIRoute
from mlflow import server
from mlflow.server.fastapi_app import create_fastapi_app


def flask_routes():
    for rule in server.app.url_map.iter_rules():
        path = re.sub(r"<path:(\w+)>", r"{*\1}", rule.rule)
        path = re.sub(r"<(?:\w+:)?([\w.]+)>", r"{\1}", path)
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            yield method, path


def fastapi_routes(routes, prefix=""):
    for route in routes:
        if isinstance(route, APIRoute):
            path = re.sub(r"{(\w+):path}", r"{*\1}", prefix + route.path)
            for method in route.methods - {"HEAD", "OPTIONS"}:
                yield method, path
        elif included := getattr(route, "original_router", None):
            context = route.include_context
            yield from fastapi_routes(included.routes, prefix + context.prefix)


def main():
    app = create_fastapi_app(server.app)
    found = {*flask_routes(), *fastapi_routes(app.routes)}
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        for method, path in sorted(found, key=lambda pair: (pair[1], pair[0])):
            out.write(f"{method} {path}\n")
    print(f"{len(found)} endpoints")


if __name__ == "__main__":
    main()
