"""The steps of scripts/gpu_check: what each runs, how long it may take, and what becomes of the
report when one of them fails."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import gpu_check_build
import gpu_check_texts

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MODEL = os.path.join(ROOT, "models/tiny-sst2")
KERNEL_TESTS = gpu_check_build.kernel_tests(ROOT)
SANITIZERS = ("memcheck", "racecheck", "synccheck")
# float16 TFLOP/s of a matrix product of 8192 x 8192 x 8192, and TB/s of a copy, both directions
# counted: measured earlier, for where no PyTorch is at hand to measure them anew.
CEILINGS = {"H100": (798, 3.0), "H200": (788, 4.3)}
ENCODER_WEIGHT_BYTES = 2 * 42.53e6  # of the base shape in 2-byte elements: one text reads them all
STOP_S = 5  # for a program to end after SIGTERM


class Skip(Exception):
    """Why a step cannot run here."""


class Failed(Exception):
    """What was wrong."""


class Run:
    """The report, the log, the clock, and what one step leaves for the next."""

    def __init__(self, options, out):
        self.options, self.dry = options, options.dry_run
        self.end_s = time.monotonic() + options.seconds
        self.step_end_s = self.end_s
        self.report_path = os.path.join(out, "gpu_check.json")
        self.log = open(os.path.join(out, "gpu_check.log"), "wb")
        self.folder = os.path.join(ROOT, "build/gpu_check")
        os.makedirs(self.folder, exist_ok=True)
        self.work = tempfile.TemporaryDirectory(prefix="gpu-check-", dir=self.folder)
        self.expected = os.path.join(out, "gpu_check.expected")
        if options.expected:
            shutil.copyfile(options.expected, self.expected)
        self.ids = os.path.join(self.work.name, "ids.txt")
        not_built = os.path.join(self.folder, "not-built")
        self.programs = options.programs if self.dry else not_built
        self.dtypes = ["float16", "bfloat16", "float32"]  # until the step dtypes has asked
        self.card, self.target = "", ""  # as "90": both empty without a card
        self.python, self.env = sys.executable, {}
        self.report = {"dry_run": self.dry, "seconds": options.seconds, "steps": {}}

    # ---- programs ----

    def call(self, words, may_fail=False, **env):
        """Standard output and status of a program, which has what is left of the step's time; all
        that it says goes to the log. Its whole process group ends with it."""
        self.log.write(f"\n$ {' '.join(words)}\n".encode())
        self.log.flush()
        left_s = self.step_end_s - time.monotonic()
        if left_s <= 0:
            raise subprocess.TimeoutExpired(words, 0)
        if not os.access(words[0], os.X_OK) and not shutil.which(words[0]):
            raise Failed(f"{words[0]} is not there")
        env = {**os.environ, **self.env, **env}
        with tempfile.TemporaryFile() as said:
            with subprocess.Popen(words, stdout=said, stderr=self.log, cwd=ROOT, env=env,
                                  start_new_session=True) as process:
                try:
                    process.wait(left_s)
                except subprocess.TimeoutExpired as error:
                    self.end_group(process)
                    said.seek(0)
                    error.output = said.read()
                    self.log.write(error.output)
                    raise
            said.seek(0)
            output = said.read()
        self.log.write(output)
        self.log.flush()
        if process.returncode != 0 and not may_fail:
            raise Failed(f"{os.path.basename(words[0])} ended with status {process.returncode}: "
                         f"see {self.log.name}")
        return output.decode(errors="replace"), process.returncode

    @staticmethod
    def end_group(process):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(STOP_S)
                return
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                return

    def check(self, step, dtype="float16", **env):
        """One step of the C program: its JSON object. Figures that are wrong are a failure, but
        they are kept."""
        dry = ["--dry-run"] if self.dry else []
        if self.dry:
            env["WEIR_CUBLASLT"] = os.path.join(self.programs, "libweir_emulated_gpu.so")
        program = os.path.join(self.programs, "gpu_check_standin" if self.dry else "gpu_check")
        output, status = self.call([program, *dry, step, dtype, self.ids, self.expected],
                                   may_fail=True, **env)
        try:
            figures = json.loads(output.strip().splitlines()[-1])
        except (IndexError, json.JSONDecodeError):
            raise Failed(f"ended with status {status} amid its figures: see {self.log.name}"
                         ) from None
        if status != 0 or figures["failures"] > 0:
            error = Failed(f"{figures['failures']} of its checks failed")
            error.figures = figures
            raise error
        return figures

    # ---- running them all ----

    def all(self, only):
        """All steps, or those whose first word is in `only`, and what these need."""
        for plan in (steps, later_steps):  # the second asks for the dtypes that the first found
            for name, limit_s, function in plan(self):
                if not only or name in NEEDED or name.split(" ")[0] in only:
                    self.one(name, limit_s, function)
        self.report["shares_of_ceilings"] = shares(self.report)
        self.save()
        self.work.cleanup()

    def one(self, name, limit_s, function):
        begin_s = time.monotonic()
        entry = {"status": "not reached"}
        self.report["steps"][name] = entry
        self.step_end_s = min(self.end_s, begin_s + limit_s)
        if begin_s < self.end_s:
            try:
                entry.update(status="passed", figures=function())
            except Skip as reason:
                entry.update(status="skipped", reason=str(reason))
            except Failed as error:
                entry.update(status="failed", reason=str(error))
                entry.update(figures=getattr(error, "figures", {}))
            except subprocess.TimeoutExpired as error:
                entry.update(figures=last_object(error.output))
                limit = "all" if self.step_end_s == self.end_s else "it"
                entry.update(status="timed out", reason=f"the time for {limit} was over")
            except Exception as error:  # one step's mishap must not cost the others
                entry.update(status="failed", reason=f"{type(error).__name__}: {error}")
        entry["seconds"] = round(time.monotonic() - begin_s, 1)
        reason = f": {entry['reason'].splitlines()[0]}" if "reason" in entry else ""
        print(f"gpu_check: {name}: {entry['status']}{reason}", file=sys.stderr, flush=True)
        self.save()

    def counts(self):
        found = [entry["status"] for entry in self.report["steps"].values()]
        return {status: found.count(status) for status in sorted(set(found))}

    def save(self):
        """Whole or not at all: whoever ends us finds what was there."""
        with open(self.report_path + ".new", "w", encoding="utf-8") as file:
            json.dump(self.report, file, indent=1)
            file.write("\n")
        os.replace(self.report_path + ".new", self.report_path)


def last_object(output):
    """What a program that was ended had said by then."""
    try:
        return json.loads((output or b"").strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {}


# ---- the steps ----

NEEDED = {"machine", "build", "texts", "expected", "calibrate", "dtypes"}


def steps(run):
    """(name, seconds at most, function), in the order of what matters most."""
    return [("machine", 30, lambda: machine(run)), ("build", 240, lambda: build(run)),
            ("texts", 30, lambda: texts(run)),
            *((f"known_answers {name}", 60, lambda name=name: known_answers(run, name))
              for name in KERNEL_TESTS),
            ("expected", 110, lambda: expected(run)), ("calibrate", 30, lambda: calibrate(run)),
            ("dtypes", 60, lambda: dtypes(run))]


def later_steps(run):
    tune = {"WEIR_CUDA_TUNE_FILE": os.path.join(run.work.name, "weir.tune")}
    own = [("own_ffn", {"WEIR_CUDA_FFN": "own"}), ("own_gemms", {"WEIR_CUDA_GEMM": "own"})]
    names = [("parity", 60, {}), ("buckets", 60, {}), ("bits", 60, {})]
    plan = [(f"{step} {dtype}", limit_s, step, dtype, env) for dtype in run.dtypes
            for step, limit_s, env in names if step == "parity" or dtype != "float32"]
    plan += [("latency float16", 30, "latency", "float16", {}),
             ("throughput float16", 45, "throughput", "float16", {}),
             ("tune float16", 90, "tune", "float16", tune),
             ("throughput float16 tuned", 45, "throughput", "float16", tune),
             ("ring float16", 45, "ring", "float16", {})]
    plan += [(f"{step} float16 {word}", 45, step, "float16", env) for word, env in own
             for step in ("parity", "bits", "latency", "throughput")]
    plan += [(f"throughput {dtype}", 45, "throughput", dtype, {}) for dtype in run.dtypes
             if dtype not in ("float16", "float32", "bfloat16")]
    made = [(name, limit_s, lambda step=step, dtype=dtype, env=env: engine(run, step, dtype, env))
            for name, limit_s, step, dtype, env in plan]
    made += [("torch", 120, lambda: torch(run, "torch")),
             *((f"{tool} {name}", 60, lambda tool=tool, name=name: sanitize(run, tool, name))
               for name in KERNEL_TESTS for tool in SANITIZERS),
             ("http", 90, lambda: http(run)),
             ("onnxruntime", 60, lambda: torch(run, "onnxruntime"))]
    return made


def machine(run):
    if run.dry:
        return {"card": "none: the stand-in"}
    if not shutil.which("nvidia-smi"):
        raise Failed("no NVIDIA GPU here: there is no nvidia-smi; --dry-run needs none")
    output, _ = run.call(["nvidia-smi", "--query-gpu=name,compute_cap,driver_version,memory.total",
                          "--format=csv,noheader"])
    name, capability, driver, memory = (word.strip() for word in
                                        output.splitlines()[0].split(","))
    run.card, run.target = name, capability.replace(".", "")
    return {"card": name, "compute_capability": capability, "driver": driver, "memory": memory,
            "cores": os.cpu_count()}


def build(run):
    if run.dry:
        raise Skip("the programs of --dry-run are built by scripts/build")
    if not run.target:
        raise Failed("without a card there is nothing to build for")
    try:
        left_out = gpu_check_build.build(ROOT, run.folder, run.target,
                                         run.step_end_s - time.monotonic())
    except gpu_check_build.BuildError as error:
        run.log.write(str(error).encode())
        raise Failed(str(error)) from None
    run.programs = run.folder
    return {"target": run.target, "not_compiled_here": left_out}


def texts(run):
    paths = [run.options.texts, os.path.join(ROOT, "../shared/data/sst2/dev.tsv"),
             os.path.join(HERE, "gpu_check_texts.txt")]
    if run.options.texts and not os.path.exists(run.options.texts):
        raise Failed(f"--texts {run.options.texts} is not there")
    path = next(path for path in paths if path and os.path.exists(path))
    if run.dry and not run.options.texts:
        path = paths[-1]
    lines = gpu_check_texts.read_lines(path)
    gpu_check_texts.write_ids(lines, MODEL, run.ids)
    return {"source": os.path.basename(path), "texts": len(lines)}


def skip_where_there_is_no(run, name):
    if name.startswith("fp8") and not run.dry and int(run.target or 0) < 89:
        raise Skip("fp8 needs compute capability 8.9")


def known_answers(run, name):
    """The kernel's own tests: on the card, or under the emulation."""
    skip_where_there_is_no(run, name)
    run.call([os.path.join(run.programs, f"{'test_cuda' if run.dry else 'card'}_{name}")])
    return {}


def expected(run):
    """By the CPU backend where the whole of weir is built here, else by plain loops."""
    if run.options.expected:
        return {"source": os.path.basename(run.options.expected)}
    backend = os.path.join(ROOT, "build/release/tests/gpu_check_standin")
    if not run.dry and not run.target:
        raise Failed("without a card there is nothing to compare with them")
    if not run.dry and os.path.exists(backend):
        output, _ = run.call([backend, "expected", "float32", run.ids, run.expected])
        return json.loads(output.strip().splitlines()[-1])
    return run.check("expected")


def calibrate(run):
    """Leaves what fp8 is made of in the environment of all later steps."""
    path = os.path.join(run.work.name, "fp8.json")
    figures = run.check("calibrate", WEIR_CUDA_CALIBRATE_FILE=path)
    run.env["WEIR_CUDA_FP8_FILE"] = path
    return figures


def dtypes(run):
    """Which the engine has on this card."""
    found = run.check("dtypes")
    run.dtypes = sorted((word for word in found if found[word] is True and word != "auto"),
                        key=lambda word: (word != "float16", word))
    if "float16" not in run.dtypes:
        raise Failed(f"float16 is not among {run.dtypes}")
    return found


def engine(run, step, dtype, env):
    if run.dry and step in ("buckets", "bits") and dtype == "bfloat16":
        raise Skip("the small model has too few rows to tell sums apart that bfloat16 rounds")
    return run.check(step, dtype, **env)


def sanitize(run, tool, name):
    program = shutil.which("compute-sanitizer")
    if run.dry:
        raise Skip("there is no card")
    if not program:
        raise Skip("compute-sanitizer is not installed")
    skip_where_there_is_no(run, name)
    run.call([program, "--tool", tool, "--error-exitcode", "9",
              os.path.join(run.programs, f"card_{name}")])
    return {}


def http(run):
    """The real server under load, beside the usual one: scripts/bench says what it needs."""
    if run.dry:
        raise Skip("there is no card")
    missing = [name for name in ("cmake", "ninja", "wrk", "pkg-config") if not shutil.which(name)]
    if not missing and subprocess.run(["pkg-config", "--exists", "libh2o-evloop"],
                                      check=False).returncode != 0:
        missing = ["libh2o"]
    if missing:
        raise Skip(f"the whole server cannot be built here: no {', '.join(missing)}")
    model, figures = os.path.join(run.work.name, "model"), os.path.join(run.work.name, "http.json")
    run.call([run.python, os.path.join(ROOT, "scripts/make_random_model.py"), model, "--vocab",
              os.path.join(MODEL, "vocab.txt")])
    run.call([run.python, os.path.join(ROOT, "scripts/bench"), "--gpu", "--seconds", "2",
              "--rounds", "1", "--model-id", model, "--json", figures])
    with open(figures, encoding="utf-8") as file:
        return json.load(file)


def torch(run, which):
    """The same shapes by others on the same card."""
    if run.dry:
        raise Skip("there is no card")
    output, _ = run.call([run.python, os.path.join(HERE, "gpu_check_others.py"), which, run.ids])
    figures = json.loads(output.strip().splitlines()[-1])
    if "skipped" in figures:
        raise Skip(figures["skipped"])
    return figures


# ---- what the figures mean ----

def ceilings(report):
    steps_found = report["steps"]
    measured = steps_found.get("torch", {}).get("figures", {})
    if "matmul_tflop_s" in measured:
        return measured["matmul_tflop_s"], measured["copy_tb_s"], "measured in this run"
    card = steps_found.get("machine", {}).get("figures", {}).get("card", "")
    for word, (tflop_s, tb_s) in CEILINGS.items():
        if word in card:
            return tflop_s, tb_s, f"measured earlier on an {word}"
    return None


def shares(report):
    """Executed FLOP a second as a share of a large matrix product's, which is float16's with fp8,
    too; for one text the time in which its weights can be read as a share of the time that it
    took."""
    found = ceilings(report)
    if report["dry_run"] or found is None:
        return {}
    tflop_s, tb_s, source = found
    result = {"tflop_s": tflop_s, "tb_s": tb_s, "source": source}
    for name, entry in report["steps"].items():
        for shape, row in entry.get("figures", {}).items():
            if name.startswith("throughput") and isinstance(row, dict):
                result[f"{name} {shape}"] = round(row["tflop_s"] / tflop_s, 3)
            if name.startswith("latency") and isinstance(row, dict):
                floor_us = ENCODER_WEIGHT_BYTES / (tb_s * 1e6)
                result[f"{name} {shape}"] = round(floor_us / row["median_us"], 3)
    return result


def table(report):
    """The figures that are asked for first, a line each."""
    parts = report.get("shares_of_ceilings", {})
    for name, entry in report["steps"].items():
        for shape, row in (entry.get("figures") or {}).items():
            rows = {shape: row} if shape not in ("eager", "compiled") else row
            for inner, figures in rows.items() if isinstance(rows, dict) else ():
                if not isinstance(figures, dict):
                    continue
                words = [f"{figures[key]:>10} {unit}" for key, unit in
                         (("median_us", "us"), ("p99_us", "us p99"), ("mtok_s", "Mtok/s"),
                          ("batch_us", "us a batch")) if key in figures]
                share = parts.get(f"{name} {inner}")
                ceiling = "float16's ceiling" if "fp8" in name else "the ceiling"
                words += [f"{100 * share:.0f} % of {ceiling}"] if share else []
                label = inner if inner == shape else f"{shape} {inner}"
                if words:
                    yield f"{name} {label}".ljust(44) + " ".join(words)
