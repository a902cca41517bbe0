"""Compiles protos/ into controlplane/_pb at build time; all else is in pyproject.toml."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from shutil import copytree

from setuptools import Command, setup
from setuptools.command.build import build
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PACKAGE = "controlplane._pb"
OUT = ROOT.joinpath(*PACKAGE.split("."))


class BuildProtos(Command):
    """Write the message classes into the tree, where editable installs look for them too."""

    editable_mode = False

    def initialize_options(self) -> None: ...

    def finalize_options(self) -> None: ...

    def run(self) -> None:
        from grpc_tools import protoc

        OUT.mkdir(exist_ok=True)
        (OUT / "__init__.py").write_text(
            '"""Generated from protos/ by setup.py; not committed."""\n'
        )
        names = [path.name for path in sorted((ROOT / "protos").glob("*.proto"))]
        google = files("grpc_tools") / "_proto"  # struct.proto, wrappers.proto and their like
        arguments = [f"-I{ROOT / 'protos'}", f"-I{google}"]
        arguments += [f"--python_out={OUT}", f"--pyi_out={OUT}", *names]
        if protoc.main(["protoc", *arguments]) != 0:
            raise SystemExit("protoc failed; see the lines above")
        for path in [*OUT.glob("*_pb2.py"), *OUT.glob("*_pb2.pyi")]:  # protoc knows no packages
            path.write_text(
                "\n".join(
                    f"from . {line}" if line.startswith("import ") and "_pb2" in line else line
                    for line in path.read_text().split("\n")
                )
            )

        packages = self.distribution.packages
        if packages is not None and PACKAGE not in packages:
            packages.append(PACKAGE)  # looked for before it was there: a clean tree has none

    def get_source_files(self) -> list[str]:
        return [f"protos/{path.name}" for path in (ROOT / "protos").glob("*.proto")]

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class BuildPy(build_py):
    """The chart comes along in a wheel, for `weir install`; a checkout has it where it is."""

    def run(self) -> None:
        super().run()
        chart = ROOT / "charts"  # images are built without
        if not self.editable_mode and chart.is_dir():
            copytree(chart, Path(self.build_lib) / "controlplane" / "charts", dirs_exist_ok=True)


class Build(build):
    sub_commands = (("build_protos", None), *build.sub_commands)


setup(cmdclass={"build_protos": BuildProtos, "build_py": BuildPy, "build": Build})
