/* Runs the PTX that nvcc made of the kernels, on the emulated GPU: the second net. The host
 * compiler's build of the kernels cannot see what the inline assembly says, nor what nvcc made of
 * the rest; this can.
 *
 * Each CUDA thread is a fiber of the emulated GPU that reads its instructions one by one; barriers,
 * shuffles, mma, ldmatrix and cp.async are the emulated GPU's own. So the kernels' known-answer
 * tests run unchanged, only that a launch comes here. An opcode that the kernels do not use is an
 * error, not a guess. */
#ifndef WEIR_TESTS_CUDA_PTX_PTX_H
#define WEIR_TESTS_CUDA_PTX_PTX_H

#include <stdint.h>

#include <map>
#include <string>
#include <vector>

namespace ptx
{

/* Every opcode that the kernels use. */
/* clang-format off */
#define PTX_OPCODES(X)                                                                    \
    X(ld) X(st) X(atom) X(mov) X(cvta) X(cvt) X(selp) X(setp)                             \
    X(bar) X(membar) X(shfl) X(mma) X(ldmatrix) X(cp) X(ret) X(exit)                      \
    X(bra) X(neg) X(abs) X(ex2) X(rsqrt) X(rcp) X(fma) X(add)                             \
    X(sub) X(mul) X(div) X(max) X(min) X(copysign) X(mad) X(rem)                          \
    X(and) X(or) X(xor) X(not) X(shl) X(shr) X(bfi) X(trap)
/* clang-format on */

#define PTX_OPCODE_ENUM(word) OP_##word,
enum opcode : uint8_t { PTX_OPCODES(PTX_OPCODE_ENUM) OPCODE_COUNT };

/* B, U, S, F as PTX's types begin; H and E are float16 and bfloat16. */
enum class family : uint8_t { NONE, B, U, S, F, H, E, PREDICATE };

struct type {
    family kind = family::NONE;
    uint8_t bytes = 0;
    bool pair = false; /* f16x2, bf16x2 */
};

struct operand {
    enum { NONE, REGISTER, IMMEDIATE, SPECIAL, VECTOR, LABEL } kind = NONE;
    int index = -1;                /* of the register, or of the instruction behind a label */
    uint64_t value = 0;            /* of an immediate; offset of an address */
    int parameter = -1;            /* an address within this parameter */
    bool address = false;          /* in brackets: value + register, if there is one */
    char special = 0, axis = 0;    /* 't'id, 'n'tid, 'c'taid, g = nctaid */
    int predicate = -1;            /* second destination of shfl */
    std::vector<operand> elements; /* of a vector */
};

struct instruction {
    opcode op = OPCODE_COUNT;
    std::vector<std::string> words; /* "mad.lo.s32" in parts */
    std::string text;
    int guard = -1; /* register of @%p */
    bool guard_negated = false;
    std::vector<operand> operands;
    type first, second; /* the first and second type among the words */
    int vector = 1;     /* of v2, v4 */
    bool wide = false, high = false, in_shared = false, in_parameters = false;
    bool has(const char *word) const;
};

struct kernel {
    std::string name; /* mangled */
    std::vector<std::string> parameters;
    std::vector<instruction> code;
    std::map<std::string, uint32_t> shared; /* symbol to offset */
    uint32_t shared_bytes = 0;
    int n_registers = 0;
};

/* Every kernel of a PTX file. Ends the process, saying where, if it cannot be read. */
std::vector<kernel> parse_file(const char *path);

/* The running fiber executes the kernel, from its first instruction to its return. */
void run_thread(const kernel &k, const std::vector<std::vector<unsigned char>> &arguments);

[[noreturn]] void fail(const std::string &why);

} // namespace ptx

#endif
