"""The unit file: understood whole by systemd, closed down by its own judgement, and of one mind with the daemon."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tools import BINARY, ROOT, UNIT, run, seconds

EXPOSURE_MAX = 1.5
"""Of 10, in the words of `systemd-analyze security`."""
POLICY = ROOT / "src/policy.rs"
DEFAULT_GRACE = "25s"
LAST_WORD = 3
MARGIN = 10


def settings(name: str) -> list[str]:
    """Values of a key, in their order."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def verify(text: str, folder: Path) -> tuple[int, str]:
    """What systemd makes of a unit file whose program is where ours is."""
    unit = folder / UNIT.name
    unit.write_text(text.replace("/usr/local/bin/strongroom", str(BINARY.resolve())))
    words = ("systemd-analyze", "--no-pager", "--man=no", "verify", str(unit))
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    assert verify(UNIT.read_text(), tmp_path) == (0, "")


def test_a_line_that_systemd_does_not_understand_is_found(tmp_path: Path) -> None:
    """The check can fail."""
    _, said = verify(UNIT.read_text().replace("PrivateTmp=", "PrivateTemp="), tmp_path)
    assert "PrivateTemp" in said


def security(unit: Path, threshold: float) -> subprocess.CompletedProcess[str]:
    words = ("systemd-analyze", "--no-pager", "security", "--offline=true", f"--threshold={threshold * 10:.0f}", str(unit))
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


def test_its_exposure_is_low(tmp_path: Path) -> None:
    done = security(UNIT, EXPOSURE_MAX)
    assert done.returncode == 0, done.stdout
    # And the threshold is one: without a few lines it is passed.
    open_unit = tmp_path / UNIT.name
    open_unit.write_text(re.sub(r"^(SystemCallFilter|CapabilityBoundingSet|PrivateUsers)=.*$", "", UNIT.read_text(), flags=re.M))
    assert security(open_unit, EXPOSURE_MAX).returncode != 0


def test_it_runs_as_nobody_who_is_there_before_and_keeps_nothing() -> None:
    assert settings("DynamicUser") == ["yes"] and not settings("User")
    assert not settings("StateDirectory"), "what strongroom knows is in AWS"
    assert settings("PrivateTmp") == ["yes"], "password files are there"


def test_secrets_come_as_credentials_and_never_in_the_environment() -> None:
    credentials = settings("LoadCredential")
    names = [credential.partition(":") for credential in credentials]
    # An absolute path that is not there would keep the daemon from starting; a name is looked up in /etc/credstore.
    assert names and all(store == f"strongroom.{name}" for name, _, store in names)
    assert settings("Environment") == ["MALLOC_ARENA_MAX=1"] and not settings("SetCredential")


def test_it_is_given_the_time_that_the_daemon_takes_to_end() -> None:
    (stop,) = settings("TimeoutStopSec")
    assert int(stop) >= seconds(DEFAULT_GRACE) + LAST_WORD + MARGIN
    assert settings("KillMode") == ["mixed"], "pg_dump is ended by the daemon, which says so"
    assert f'"{DEFAULT_GRACE}"' in run(BINARY, "config", "schema"), "the default of daemon.grace"


def test_a_wrong_configuration_is_not_tried_again(tmp_path: Path) -> None:
    assert settings("Restart") == ["on-failure"]
    (code,) = settings("RestartPreventExitStatus")
    (tmp_path / "wrong.toml").write_text("no_such_key = 1\n")
    run(BINARY, "--config", tmp_path, "run", code=int(code), env={})


def test_it_believes_the_daemon_and_nobody_whom_it_starts() -> None:
    """What the daemon says is in tests/e2e/test_systemd.py."""
    assert settings("Type") == ["notify"] and settings("NotifyAccess") == ["main"]
    (start,) = settings("TimeoutStartSec")
    assert 30 <= int(start) <= 120, "it waits for nobody, and a start that hangs is ended"
    assert "AF_UNIX" in settings("RestrictAddressFamilies")[0].split(), "it says so by a socket"


def test_its_watchdog_is_as_patient_as_the_probe() -> None:
    """One that were not would kill a daemon that /livez calls alive."""
    source = POLICY.read_text()
    (looks,) = re.findall(r"^const MISSED_LOOKS: i32 = (\d+);", source, re.MULTILINE)
    (grace,) = re.findall(r"^const LOOK_GRACE: SignedDuration = SignedDuration::from_mins\((\d+)\);", source, re.MULTILINE)
    properties = json.loads(run(BINARY, "config", "schema"))["$defs"]["Daemon"]["properties"]
    every = seconds(properties["reconcile_interval"]["default"])
    (watchdog,) = settings("WatchdogSec")
    assert seconds(watchdog) == int(looks) * every + int(grace) * 60
