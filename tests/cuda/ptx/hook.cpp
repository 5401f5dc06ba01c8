/* Linked into the kernels' known-answer tests, this makes every launch run nvcc's PTX: the files
 * that WEIR_PTX names, separated by colons. Kernels of an element type whose file is not named run
 * as they do without it. At the end it says what it ran, so that a test of nothing shows. */
#include <stdio.h>
#include <stdlib.h>

#include <map>
#include <string>

#include "emulation/gpu.h"
#include "ptx/ptx.h"

static std::map<std::string, ptx::kernel> kernels; /* by mangled name */
static std::map<std::string, int> launches;        /* by the name at the launch */

/* "float16::attention_kernel<64>" begins _ZN7float1616attention_kernelILi64EE as a symbol. */
static std::string mangled_prefix(const std::string &name)
{
    const size_t colons = name.find("::"), angle = name.find('<');
    const std::string space = name.substr(0, colons);
    const std::string function = name.substr(colons + 2, angle - colons - 2);
    std::string symbol =
        "_ZN" + std::to_string(space.size()) + space + std::to_string(function.size()) + function;
    if (angle != std::string::npos)
        symbol += "ILi" + name.substr(angle + 1, name.find('>') - angle - 1) + "EE";
    return symbol;
}

static cudaError_t launch(const char *name, dim3 grid, dim3 block, cudaStream_t,
                          std::function<void()> emulated, const gpu::arguments &values)
{
    const std::string prefix = mangled_prefix(name);
    const auto found = kernels.lower_bound(prefix);
    const bool have = found != kernels.end() && found->first.compare(0, prefix.size(), prefix) == 0;
    if (have && values.size() != found->second.parameters.size())
        ptx::fail(std::string(name) + ": another number of parameters");
    launches[name] += have;
    gpu::run_grid(name, grid, block,
                  have ? [&] { ptx::run_thread(found->second, values); } : emulated);
    return cudaSuccess;
}

static void report()
{
    int total = 0;
    for (const auto &[name, count] : launches)
        total += count;
    printf("%zu kernels of PTX, %d launches of them\n", kernels.size(), total);
    if (total == 0)
        _Exit(1);
}

static bool load()
{
    const char *files = getenv("WEIR_PTX");
    std::string rest = files != nullptr ? files : "";
    while (!rest.empty()) {
        const size_t colon = rest.find(':');
        for (const ptx::kernel &k : ptx::parse_file(rest.substr(0, colon).c_str()))
            kernels[k.name] = k;
        rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
    }
    gpu::set_launch_hook(launch);
    atexit(report);
    return true;
}

static const bool is_loaded = load();
