"""Writes the report of the fault matrix: faults-report.py TABLE RESULTS PAGE.

TABLE says of each row which tests do it, RESULTS holds what each test binary has said. Fails, though
the page is written, if a row's test has failed or has not run, but for a reason that the machine
gives, or if a figure that the table promises was not told.
"""

import os
import platform
import re
import subprocess
import sys
import tomllib

ROWS = range(1, 83)
TEST = re.compile(r"^test (\S+)(?: - should panic)? +\.\.\. (ok|FAILED|failed|ignored)(?:, (.*))?$")
FIGURE = re.compile(r"figure: row=(\d+) name=(\S+) value=(\S*) bound=(\S*)")
NEIGHBOUR = "neighbour_"


class Results:
    """What the binaries have said: outcomes of tests by their path, figures by their row."""

    def __init__(self, folder):
        self.tests = {}
        self.figures = {}
        self.parts = []
        # What ran later counts.
        age = lambda name: os.path.getmtime(os.path.join(folder, name))
        for name in sorted(os.listdir(folder), key=age):
            run, end = os.path.splitext(name)
            part = run.split(".")[0]
            if end == ".long":
                is_long = read(folder, name)[0].strip() == "1"
                self.parts.append(part + ("" if is_long else " (without long variants)"))
            elif end in (".log", ".said"):
                for line in read(folder, name):
                    self.take(part, line.rstrip("\n"))

    def take(self, part, line):
        test = TEST.match(line)
        if test:
            reason = test.group(3) or ""
            outcome = test.group(2).lower()
            self.tests[tuple([part] + test.group(1).split("::"))] = (outcome, reason)
        for row, name, value, bound in FIGURE.findall(line):
            worst = self.figures.setdefault(int(row), {})
            old = worst.get(name)
            if old is None or number(value) > number(old[0]):
                worst[name] = (value, bound)

    def of(self, module, words):
        """The tests of a module whose names have these words."""
        if module.startswith("src/"):
            path = ["lib"] + module[len("src/") :].removesuffix(".rs").removesuffix("/mod").split("/")
            is_of = lambda test: list(test[: len(path)]) == path
        else:
            is_of = lambda test: test[0] != "lib" and module in test
        return [test for test in self.tests if is_of(test) and (not words or words in test[-1])]


def read(folder, name):
    with open(os.path.join(folder, name), errors="replace") as file:
        return file.readlines()


def number(text):
    try:
        return float(text)
    except ValueError:
        return 0.0


def named(cell):
    """What a cell of tests names: pairs of a module and words of a name, or nothing for all of it."""
    module, has_words, pairs = "", True, []
    for word in re.split(r"[ ,;()]+", cell):
        if word.startswith("`"):
            if not has_words:
                pairs.append((module, ""))
            module, has_words = word.strip("`"), False
        elif "_" in word:
            pairs.append((module, word))
            has_words = True
    return pairs if has_words else pairs + [(module, "")]


def judge(row, results, faults):
    """The outcome of a row, and how many tests it is of."""
    if "not_run" in row:
        return "not run: " + row["not_run"]
    passed, lacking, failed = 0, [], []
    for module, words in named(row["tests"]):
        found = results.of(module, words)
        if not found:
            lacking.append("not in this run")
            faults.append(f"row {row['row']}: no test {words} of {module} has run")
        for test in found:
            outcome, reason = results.tests[test]
            if outcome == "ok":
                passed += 1
            elif outcome == "ignored":
                lacking.append(reason or "ignored")
            else:
                failed.append("::".join(test))
                faults.append(f"row {row['row']}: {'::'.join(test)} failed")
    if failed:
        return "FAILED: " + ", ".join(sorted(set(failed)))
    if lacking:
        return f"{passed} passed, {len(lacking)} not run: {'; '.join(sorted(set(lacking)))}"
    return f"{passed} passed"


def shown(name, value, bound):
    return f"{name.replace('_', ' ')} {value}" + (f" (bound {bound})" if bound else "")


def figures(row, results, faults):
    told = results.figures.get(row["row"], {})
    for name in row.get("figures", []):
        if name not in told and "not_run" not in row:
            faults.append(f"row {row['row']}: nobody told its figure {name}")
    own = {name: it for name, it in told.items() if not name.startswith(NEIGHBOUR)}
    text = "; ".join(shown(name, *it) for name, it in sorted(own.items()))
    if "lacks" in row:
        text = f"{text}; not shown here: {row['lacks']}" if text else f"not shown here: {row['lacks']}"
    return text or "-"


def neighbour(row, results, faults):
    told = results.figures.get(row["row"], {})
    names = ["messages", "gaps", "doubles", "ms_p99", "ms_max"]
    if "not_run" in row:
        return "-"
    if NEIGHBOUR + "gaps" not in told:
        if "neighbour" not in row:
            faults.append(f"row {row['row']}: nobody told of its neighbours")
        return row.get("neighbour", "?")
    values = [told[NEIGHBOUR + name][0] for name in names]
    return "{} messages, {} gaps, {} doubles; echo p99 {} ms, longest {} ms".format(*values)


def head(results):
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
    )
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    machine = f"{os.cpu_count()} cores, {model.group(1) if model else platform.machine()}"
    return f"""# The fault matrix, row by row

What was done to the hub, by which tests, and what came of it. Made by `scripts/faults` from
[tests/faults.toml](../tests/faults.toml) and what the tests said; not to be edited by hand.

- commit {commit.stdout.strip()}; debug build; {machine}, Linux {platform.release()}
- test binaries: {", ".join(sorted(set(results.parts)))}

A name without a path is a module of [tests/](../tests), and the words behind it begin or are part of the
names of its tests. Of a figure that several tests tell the highest is shown; they are of a debug build on a
machine that does other things too, and are held against a bound only where one stands behind them. A
healthy neighbour is somebody who speaks, and somebody who listens, in the space of the fault and in another
one: what they missed, saw twice, and how long their echoes took.

| row | fault | done by | tests | outcome | figures | healthy neighbours |
| --- | --- | --- | --- | --- | --- | --- |
"""


def main():
    table, folder, page = sys.argv[1:]
    with open(table, "rb") as file:
        rows = tomllib.load(file)["fault"]
    assert [row["row"] for row in rows] == list(ROWS), "rows 1 to 82, each once"
    results, faults = Results(folder), []
    lines = []
    for row in rows:
        cells = [row["row"], row["fault"], row["by"], row["tests"]]
        cells += [judge(row, results, faults), figures(row, results, faults)]
        cells.append(neighbour(row, results, faults))
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |\n")
    not_run = sum("not_run" in row for row in rows)
    with open(page, "w") as file:
        file.write(head(results) + "".join(lines))
        file.write(f"\n{len(rows) - not_run} rows were run, {not_run} were not.\n")
    print(f"{len(rows) - not_run} rows run, {not_run} not run, {len(faults)} faults")
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


main()
