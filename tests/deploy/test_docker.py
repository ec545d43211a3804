"""The image, as far as its recipe tells; scripts/try-image builds one, which takes minutes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from tools import DOCKERFILE, ROOT, Built, package_version, tool

IGNORE = Path(f"{DOCKERFILE}.dockerignore")
MAJORS = ["14", "15", "16", "17", "18"]
CARGO = tomllib.loads((ROOT / "Cargo.toml").read_text())


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile: word and the rest, with continued lines as one."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def arguments() -> dict[str, str]:
    """Defaults of its arguments."""
    return {name: value.strip('"') for name, _, value in (rest.partition("=") for rest in of("ARG"))}


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([tool("hadolint"), DOCKERFILE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_can_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text(DOCKERFILE.read_text().replace("debian:${DEBIAN_TAG}", "debian:latest"))
    assert subprocess.run([tool("hadolint"), bad], capture_output=True, timeout=60).returncode == 1


def test_bases_are_named_by_release_and_fit_the_program() -> None:
    values = arguments()
    bases = [re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], base.split()[0]) for base in of("FROM")]
    build, sbom, runtime = bases
    assert sbom == "scratch", "for what is written beside the image, and never in it"
    rust = CARGO["package"]["rust-version"]
    assert build == f"docker.io/library/rust:{rust}-slim-bookworm"
    assert runtime == "docker.io/library/debian:bookworm-slim", "the C library that the program was linked with"
    assert not re.search(r":latest", "\n".join(rest for _, rest in instructions()))


def test_what_is_locked_is_built() -> None:
    (build,) = [run for run in of("RUN") if "cargo build" in run]
    assert "--locked --release" in build and "STRONGROOM_REVISION=" in build
    assert "cargo metadata --locked" in build and "scripts/sbom" in build


def test_folders_have_the_same_names_in_the_program_by_whatever_way_it_is_built() -> None:
    script = (ROOT / "scripts/package").read_text()
    (flags,) = of("ENV")
    for flag in ("--remap-path-prefix", "-ffile-prefix-map"):
        in_image = re.findall(rf"{flag}=[^=]+=([/a-z]+)", flags)
        in_package = re.findall(rf"{flag}=[^=]+=([/a-z]+)", script)
        assert [of("WORKDIR")[0], *in_image] == in_package == ["/build", "/cargo"], flag


def test_everything_that_cargo_needs_is_copied_and_nothing_else_is_sent() -> None:
    targets = [CARGO["bin"][0]["path"], CARGO["test"][0]["path"], CARGO["example"][0]["path"], "Cargo.lock", "Cargo.toml"]
    targets += [bench.get("path", f"benches/{bench['name']}.rs") for bench in CARGO["bench"]]
    copied = [word for rest in of("COPY") if not rest.startswith("--from") for word in rest.split()[:-1]]
    rules = [line for line in IGNORE.read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*", "what is not named stays out"
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    covered = lambda path, names: any(path == name or path.startswith(f"{name}/") for name in names)  # noqa: E731
    for target in targets:
        assert (ROOT / target).exists() and covered(target, copied), f"{target} is not copied"
    assert sorted(copied) == sorted(let_in), "what is sent is what is copied"
    assert not any(fnmatch(".git", name) or fnmatch("target", name) for name in let_in)


def test_the_clients_of_each_major_come_from_postgresqls_own_repository() -> None:
    assert arguments()["POSTGRES_MAJORS"].split() == MAJORS
    (install,) = [run for run in of("RUN") if "POSTGRES_MAJORS" in run]
    assert "https://apt.postgresql.org/pub/repos/apt" in install and "bookworm-pgdg" in install
    assert "Signed-By: /etc/apt/keyrings/apt.postgresql.org.asc" in install
    assert "apt-get download postgresql-common " in install, "Debian's signature is what the key is trusted by"
    assert not re.search(r"\b(curl|wget|apt-key|trusted=yes)\b", install)


def test_a_package_that_makes_a_private_key_is_not_installed() -> None:
    """It is ssl-cert, which postgresql-common wants: every copy of the image would have the same one."""
    installed = " ".join(re.findall(r"apt-get install ([^&]*)", " ".join(of("RUN"))))
    assert "postgresql-client-" in installed and not re.search(r"postgresql-common|ssl-cert", installed)


def test_its_steps_are_understood_by_the_shell_that_every_engine_has() -> None:
    """Images of OCI's format have no SHELL, and a pipe of dash's is good when its last program is."""
    assert not of("SHELL")
    for step in of("RUN"):
        words = re.sub(r"'[^']*'|\"[^\"]*\"|\|\|", "", step)
        assert "|" not in words and "[[" not in words, step
        assert subprocess.run(["sh", "-n", "-c", re.sub(r"^(--\S+\s+)+", "", step)], timeout=60).returncode == 0, step


def test_sources_are_compiled_whatever_the_cache_has() -> None:
    """A copy keeps the time of its checkout, which may be older than a build of another revision in the cache."""
    (build,) = [run for run in of("RUN") if "cargo build" in run]
    assert "target=/build/target" in build
    assert build.index("find src -name '*.rs' -exec touch {} +") < build.index("cargo build")


@pytest.mark.parametrize(
    ("missing", "wrong", "good"), [("none", "none", True), ("14", "none", False), ("18", "none", False), ("none", "16", False)]
)
def test_a_client_that_cannot_be_had_ends_the_build(tmp_path: Path, missing: str, wrong: str, good: bool) -> None:
    """Its step is run with programs that only say so; an error in the midst of a loop is easily lost."""
    (install,) = [run for run in of("RUN") if "POSTGRES_MAJORS" in run]
    step = install.replace('/usr/lib/postgresql/"$major"/bin/pg_dump', 'pg_dump"$major"').replace("/etc/apt", str(tmp_path))
    stubs = {"apt-get": f'case "$*" in *-client-{missing}) exit 100 ;; esac'} | dict.fromkeys(("dpkg-deb", "install", "rm"), "")
    stubs |= {f"pg_dump{major}": f"echo 'pg_dump (PostgreSQL) {major.replace(wrong, '15')}.1'" for major in MAJORS}
    (tmp_path / "sources.list.d").mkdir()
    for name, script in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "POSTGRES_MAJORS": " ".join(MAJORS)}
    done = subprocess.run(["sh", "-c", step], capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode == 0) == good, (done.stdout, done.stderr)


def test_it_runs_as_the_user_that_kubernetes_wants(production: Built) -> None:
    assert [name for name, _ in instructions()][-5:] == ["WORKDIR", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"]
    (user,) = of("USER")
    context = production.pod["securityContext"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert f"useradd --uid {context['runAsUser']} " in " ".join(of("RUN"))


def test_it_begins_with_the_daemon_itself(production: Built) -> None:
    """No shell in between, which would keep SIGTERM for itself."""
    assert json.loads(of("ENTRYPOINT")[0]) == ["/usr/local/bin/strongroom"] and json.loads(of("CMD")[0]) == ["run"]
    assert production.container["args"] == ["run"] and "command" not in production.container


@pytest.mark.parametrize("name", ["title", "description", "licenses", "version", "revision", "base.name"])
def test_it_says_what_it_is(name: str) -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.([\w.]+)="([^"]+)"', " ".join(of("LABEL"))))
    assert labels[name]
    assert labels["licenses"] == CARGO["package"]["license"]
    assert (labels["version"], labels["revision"]) == ("${VERSION}", "${REVISION}")
    assert arguments()["VERSION"] == package_version()
