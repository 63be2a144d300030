"""`python -m tests.scenarios [FOLDER …]`: run every scenario of the folders; exit 1 when one does not conform."""

import argparse
import sys
from pathlib import Path

from tests.scenarios.report import failures, table, total
from tests.scenarios.runner import run_file
from tests.scenarios.scenario import own_folders, scenario_files, shared_folder


def default_folders() -> list[Path]:
    """The shared conformance set beside the project, and the project's own scenarios."""
    return [shared_folder(), *own_folders()]


def main(arguments: list[str]) -> int:
    """Run, report, and say by the exit code whether everything conforms."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios", description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="default: shared and own scenarios")
    parser.add_argument("--only", default="", metavar="TEXT", help="scenarios whose name contains this")
    parser.add_argument("--optional", action="store_true", help="also list what differs at the optional level")
    options = parser.parse_args(arguments)
    folders = options.folders or default_folders()
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        print(f"No such folder: {', '.join(map(str, missing))}")
        print("The Orquesta conformance set is expected beside the project, or name a folder of scenarios.")
        return 2
    everything = []
    for folder in folders:
        results = [run_file(path) for path in scenario_files(folder) if options.only in path.stem]
        everything += results
        print(f"{folder.name}:", *table(results), *failures(results, optional=options.optional), "", sep="\n")
    print(total(everything))
    return 0 if everything and all(result.conforms for result in everything) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
