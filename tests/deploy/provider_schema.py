"""Which arguments the AWS provider's resources have: `terraform validate` knows it from the provider, which is in no registry of
packages. Its bindings for TypeScript are in one, and are made from the same schema.

Writes provider_schema.json anew, for the resources that deploy/terraform has:

    npm pack @cdktn/provider-aws@25.7.0 && tar -xzf cdktn-provider-aws-25.7.0.tgz
    python3 tests/deploy/provider_schema.py package
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

TERRAFORM = Path(__file__).parents[2] / "deploy/terraform"
SCHEMA = Path(__file__).with_suffix(".json")

Shape = dict[str, Any]
"""Arguments by name, `!` behind those that must be given; a block has a shape of its own, and everything else is null."""

INTERFACE = re.compile(r"export interface (\w+)( extends [\w.]+)? \{\n(.*?)\n\}", re.DOTALL)
ARGUMENT = re.compile(r"#(\w+)\}\n(?:(?!\*/).)*\*/\n\s+readonly \w+(\??): ([^;]+);", re.DOTALL)


def resources() -> set[str]:
    """The types that the modules have."""
    files = TERRAFORM.glob("**/*.tf")
    return {name for file in files for name in re.findall(r'^resource "(aws_\w+)"', file.read_text(), re.MULTILINE)}


def shape_of(folder: Path) -> Shape:
    found = INTERFACE.findall("\n".join(file.read_text() for file in sorted(folder.glob("*.d.ts"))))
    bodies = {name: body for name, _, body in found}
    (top,) = [name for name, extends, _ in found if "TerraformMetaArguments" in extends]

    def shape(name: str) -> Shape:
        arguments = {}
        for argument, optional, type_ in ARGUMENT.findall(bodies[name]):
            inner = [word for word in re.findall(r"\w+", type_) if word in bodies]
            arguments[argument + ("" if optional else "!")] = shape(inner[0]) if inner else None
        return dict(sorted(arguments.items()))

    return shape(top)


def main(package: Path) -> None:
    version = json.loads((package / "package.json").read_text())["cdktn"]["provider"]["version"]
    shapes = {name: shape_of(package / "lib" / name.removeprefix("aws_").replace("_", "-")) for name in resources()}
    lines = [
        f'"provider": {json.dumps(version)}',
        *(f'"{name}": {json.dumps(shapes[name])}' for name in sorted(shapes)),
    ]
    SCHEMA.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
