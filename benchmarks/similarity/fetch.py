"""Download packages of Debian and record their versions: `python -m benchmarks.similarity.fetch`.

Nothing is installed: packages are unpacked in the cache folder. `packages.txt` has the version and the SHA-256 of each.
"""

import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from benchmarks.corpus import CACHE as CORPUS
from benchmarks.similarity import programs
from benchmarks.similarity.programs import Place

CACHE: Final = CORPUS / "similarity"
RECORD: Final = Path(__file__).with_name("packages.txt")
_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_MIRROR: Final = "http://deb.debian.org/debian"


def main() -> None:
    """Download what is missing, unpack it, and write the record."""
    packages = [package.package for table in (programs.LEARN, programs.EVALUATE) for package in table.values()]
    for place in programs.PLACES:
        update_lists(place)
        tools = programs.TOOLS if place == programs.BASE else ()
        download_packages(place, [*dict.fromkeys(packages), *programs.C_LIBRARY, *tools])
    for source in (programs.LEARN_SOURCES | programs.EVALUATE_SOURCES).values():
        download_source(source.package)
    wanted = {*packages, *programs.C_LIBRARY, *programs.TOOLS}
    debs = [path for path in (CACHE / "debs").rglob("*.deb") if path.name.partition("_")[0] in wanted]
    archives = (CACHE / "sources").glob("*/*.orig*.tar.*")
    lines = [f"{hash_file(path)}  {path.relative_to(CACHE)}" for path in sorted([*debs, *archives])]
    RECORD.write_text("\n".join(lines) + "\n", "utf-8")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def unpacked(place: Place, package: str) -> Path:
    """Return the folder of an unpacked package."""
    return CACHE / "unpacked" / f"{place.arch}-{place.suite}" / package


def source_tree(package: str) -> Path:
    """Return the folder of an unpacked source."""
    return next(path for path in sorted((CACHE / "sources" / package).iterdir()) if path.is_dir())


def update_lists(place: Place) -> None:
    """Write the configuration of apt for a place, and update its lists once."""
    folder = _apt(place)
    if (folder / "lists" / "lock").exists():
        return
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    where = f"{_MIRROR} {place.suite} main\n"
    (folder / "sources.list").write_text(
        f"deb [signed-by={_KEYRING} arch={place.arch}] {where}deb-src [signed-by={_KEYRING}] {where}", "utf-8"
    )
    subprocess.run(["apt-get", *_options(place), "update"], check=True, stdout=subprocess.DEVNULL)


def _apt(place: Place) -> Path:
    return CACHE / "apt" / f"{place.arch}-{place.suite}"


def _options(place: Place) -> list[str]:
    folder = _apt(place)
    values = {
        "Dir::Etc::sourcelist": f"{folder}/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": f"{folder}/lists",
        "Dir::State::status": f"{folder}/status",
        "Dir::Cache": f"{folder}/cache",
        "APT::Architecture": place.arch,
        "APT::Architectures": place.arch,
    }
    return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]


def download_packages(place: Place, packages: Iterable[str]) -> None:
    """Download and unpack packages, as far as the release has them."""
    folder = CACHE / "debs" / f"{place.arch}-{place.suite}"
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        into = unpacked(place, package)
        if into.exists():
            continue
        command = ["apt-get", *_options(place), "download", package]
        if subprocess.run(command, check=False, cwd=folder, capture_output=True).returncode:
            print(f"{place.suite} has no {package} for {place.arch}")
            continue
        into.mkdir(parents=True)
        subprocess.run(["dpkg", "-x", next(folder.glob(f"{package}_*.deb")), into], check=True)


def download_source(package: str) -> None:
    """Download and unpack the source of a package."""
    folder = CACHE / "sources" / package
    if folder.exists():
        return
    folder.mkdir(parents=True)
    command = ["apt-get", *_options(programs.BASE), "source", "--download-only", package]
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    for archive in folder.glob("*.orig*.tar.*[!c]"):
        subprocess.run(["tar", "xf", archive], check=True, cwd=folder)


if __name__ == "__main__":
    main()
