/* Executes PTX: one fiber, one CUDA thread. Scalar instructions are carried out here; what a warp
 * or a block does together is handed to the emulated GPU. */
#include <math.h>
#include <string.h>

#include <algorithm>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "emulation/gpu.h"
#include "ptx/ptx.h"

namespace ptx
{

static float to_float(uint64_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float half_to_float(family kind, uint64_t bits)
{
    const uint16_t narrow = (uint16_t)bits;
    __half h;
    __nv_bfloat16 b;
    memcpy((void *)&h, &narrow, 2);
    memcpy((void *)&b, &narrow, 2);
    return kind == family::H ? __half2float(h) : __bfloat162float(b);
}

static uint64_t float_to_half(family kind, float value)
{
    const __half h = __float2half_rn(value);
    const __nv_bfloat16 b = __float2bfloat16_rn(value);
    uint16_t bits;
    memcpy(&bits, kind == family::H ? (const void *)&h : (const void *)&b, 2);
    return bits;
}

static uint64_t zero_extend(uint64_t value, uint32_t bytes)
{
    return bytes >= 8 ? value : value & ((UINT64_C(1) << (8 * bytes)) - 1);
}

static int64_t sign_extend(uint64_t value, uint32_t bytes)
{
    const int shift = 64 - 8 * (int)bytes;
    return (int64_t)(value << shift) >> shift;
}

/* An integer as its type means it. */
static __int128 widen(uint64_t value, type t)
{
    return t.kind == family::S ? (__int128)sign_extend(value, t.bytes)
                               : (__int128)zero_extend(value, t.bytes);
}

class thread
{
  public:
    thread(const kernel &of, const std::vector<std::vector<unsigned char>> &with)
        : k(of), arguments(with), registers((size_t)of.n_registers, 0xdeadbeefdeadbeefu)
    {
        if (k.shared_bytes > 0)
            shared = (unsigned char *)gpu::shared_array(&k, k.shared_bytes);
    }

    void run()
    {
        size_t at = 0;
        while (true) {
            const instruction &i = k.code.at(at++);
            if (i.guard >= 0 && (registers[(size_t)i.guard] & 1) == i.guard_negated)
                continue;
            if (i.op == OP_ret || i.op == OP_exit)
                return;
            if (i.op == OP_trap)
                fail("a trap: the kernel has no code for this target");
            if (i.op == OP_bra)
                at = (size_t)i.operands[0].index;
            else
                execute(i);
        }
    }

  private:
    const kernel &k;
    const std::vector<std::vector<unsigned char>> &arguments;
    std::vector<uint64_t> registers;
    unsigned char *shared = nullptr;
    bool is_fenced = false; /* for the host, and nothing written since */

    /* ---- operands ---- */

    static uint64_t special(const operand &o)
    {
        const gpu::index of = o.special == 't'   ? gpu::thread_index()
                              : o.special == 'c' ? gpu::block_index()
                              : o.special == 'n' ? gpu::block_size()
                                                 : gpu::grid_size();
        return o.axis == 'x' ? of.x : o.axis == 'y' ? of.y : of.z;
    }

    uint64_t get(const operand &o) const
    {
        switch (o.kind) {
        case operand::REGISTER:
            return registers[(size_t)o.index];
        case operand::IMMEDIATE:
            return o.value;
        case operand::SPECIAL:
            return special(o);
        default:
            fail("an operand without a value");
        }
    }

    uint64_t get(const instruction &i, size_t n) const
    {
        return get(i.operands.at(n));
    }

    float get_float(const instruction &i, size_t n) const
    {
        return to_float(get(i, n));
    }

    void set(const operand &o, uint64_t value)
    {
        if (o.kind != operand::REGISTER)
            fail("a destination that is no register");
        registers[(size_t)o.index] = value;
    }

    void set(const instruction &i, uint64_t value)
    {
        set(i.operands.at(0), value);
    }

    uint64_t address(const operand &o) const
    {
        return o.value + (o.index >= 0 ? registers[(size_t)o.index] : 0);
    }

    unsigned char *shared_pointer(const operand &o, size_t bytes, const instruction &i) const
    {
        const uint64_t at = zero_extend(address(o), 4);
        if (at + bytes > k.shared_bytes || at % bytes != 0)
            fail("a shared access out of range or misaligned: " + i.text);
        return shared + at;
    }

    /* ---- instructions, by family ---- */

    void execute(const instruction &i)
    {
        const opcode op = i.op;
        if (op == OP_ld || op == OP_st || op == OP_atom)
            return access_memory(i);
        if (op == OP_mov || op == OP_cvta || op == OP_cvt || op == OP_selp || op == OP_setp)
            return move(i);
        if (op == OP_bar || op == OP_membar || op == OP_shfl || op == OP_mma || op == OP_ldmatrix ||
            op == OP_cp)
            return act_together(i);
        if (i.first.kind == family::F)
            return set(i, from_float(calculate_float(i)));
        set(i, zero_extend(calculate_integer(i), i.wide ? 2u * i.first.bytes : i.first.bytes));
    }

    float calculate_float(const instruction &i)
    {
        const opcode op = i.op;
        const float a = get_float(i, 1);
        if (i.first.bytes != 4)
            fail("not float32: " + i.text);
        if (op == OP_neg)
            return -a;
        if (op == OP_abs)
            return fabsf(a);
        if (op == OP_ex2)
            return exp2f(a);
        if (op == OP_rsqrt)
            return 1.0f / sqrtf(a);
        if (op == OP_rcp)
            return 1.0f / a;
        const float b = get_float(i, 2);
        if (op == OP_fma)
            return fmaf(a, b, get_float(i, 3));
        if (op == OP_add)
            return a + b;
        if (op == OP_sub)
            return a - b;
        if (op == OP_mul)
            return a * b;
        if (op == OP_div)
            return a / b;
        if (op == OP_max)
            return fmaxf(a, b);
        if (op == OP_copysign)
            return copysignf(b, a); /* PTX: the sign is the first operand's */
        fail("unknown: " + i.text);
    }

    uint64_t calculate_integer(const instruction &i)
    {
        const opcode op = i.op;
        const type t = i.first;
        const __int128 a = widen(get(i, 1), t);
        if (op == OP_not)
            return t.kind == family::PREDICATE ? !(uint64_t)a : ~(uint64_t)a;
        if (op == OP_neg)
            return (uint64_t)-a;
        if (op == OP_shl || op == OP_shr)
            return shift(i, a);
        const __int128 b = widen(get(i, 2), t);
        if (op == OP_add)
            return (uint64_t)(a + b);
        if (op == OP_sub)
            return (uint64_t)(a - b);
        if (op == OP_mul)
            return (uint64_t)(i.high ? (a * b) >> (8 * t.bytes) : a * b);
        if (op == OP_mad)
            return (uint64_t)(a * b) + get(i, 3);
        if (op == OP_div)
            return (uint64_t)(a / b);
        if (op == OP_rem)
            return (uint64_t)(a % b);
        if (op == OP_min)
            return (uint64_t)std::min(a, b);
        if (op == OP_max)
            return (uint64_t)std::max(a, b);
        if (op == OP_and)
            return (uint64_t)(a & b);
        if (op == OP_or)
            return (uint64_t)(a | b);
        if (op == OP_xor)
            return (uint64_t)(a ^ b);
        if (op == OP_bfi)
            return insert_bits((uint64_t)a, (uint64_t)b, get(i, 3) & 255, get(i, 4) & 255);
        fail("unknown: " + i.text);
    }

    uint64_t shift(const instruction &i, __int128 value) const
    {
        const uint64_t by = std::min<uint64_t>(zero_extend(get(i, 2), 4), 64);
        return (uint64_t)(i.op == OP_shl ? value << by : value >> by);
    }

    static uint64_t insert_bits(uint64_t field, uint64_t into, uint64_t position, uint64_t length)
    {
        const uint64_t mask = (length >= 32 ? UINT32_MAX : (UINT64_C(1) << length) - 1) << position;
        return (into & ~mask) | ((field << position) & mask);
    }

    void move(const instruction &i)
    {
        const opcode op = i.op;
        if (op == OP_setp)
            return set(i, i.first.kind == family::F
                              ? compare(get_float(i, 1), get_float(i, 2), i)
                              : compare(widen(get(i, 1), i.first), widen(get(i, 2), i.first), i));
        if (op == OP_selp)
            return set(i, zero_extend(get(i, (get(i, 3) & 1) ? 1 : 2), i.first.bytes));
        if (op == OP_cvt)
            return set(i, convert(i));
        if (op == OP_cvta && i.in_shared)
            fail("a generic address of shared memory: " + i.text);
        if (i.operands[0].kind == operand::VECTOR || i.operands[1].kind == operand::VECTOR)
            return move_vector(i);
        set(i, zero_extend(get(i, 1), i.first.bytes));
    }

    template <class number> bool compare(number a, number b, const instruction &i)
    {
        const std::string &how = i.words[1];
        if (i.operands.size() != 3)
            fail("a comparison with more than two operands: " + i.text);
        if (how == "eq")
            return a == b;
        if (how == "ne")
            return a < b || a > b; /* false for a NaN */
        if (how == "neu")
            return !(a == b);
        if (how == "lt" || how == "lo")
            return a < b;
        if (how == "le" || how == "ls")
            return a <= b;
        if (how == "gt" || how == "hi")
            return a > b;
        if (how == "ge" || how == "hs")
            return a >= b;
        fail("unknown: " + i.text);
    }

    void move_vector(const instruction &i)
    {
        const bool unpacks = i.operands[0].kind == operand::VECTOR;
        const std::vector<operand> &parts = i.operands[unpacks ? 0 : 1].elements;
        const uint32_t part_bytes = i.first.bytes / (uint32_t)parts.size();
        uint64_t value = unpacks ? get(i, 1) : 0;
        for (size_t n = 0; n < parts.size(); n++) {
            const int by = (int)(8 * part_bytes * n);
            if (unpacks)
                set(parts[n], zero_extend(value >> by, part_bytes));
            else
                value |= zero_extend(get(parts[n]), part_bytes) << by;
        }
        if (!unpacks)
            set(i, value);
    }

    /* The first source goes into the upper half. */
    uint64_t convert_to_e4m3_pair(const instruction &i) const
    {
        if (!i.has("rn") || !i.has("satfinite") || i.first.kind != family::F)
            fail("unknown: " + i.text);
        return (uint64_t)(__nv_cvt_float_to_fp8(get_float(i, 2), __NV_SATFINITE, __NV_E4M3) |
                          __nv_cvt_float_to_fp8(get_float(i, 1), __NV_SATFINITE, __NV_E4M3) << 8);
    }

    uint64_t convert(const instruction &i)
    {
        const type to = i.first, from = i.second;
        if (i.has("e4m3x2"))
            return convert_to_e4m3_pair(i);
        const bool to_half = to.kind == family::H || to.kind == family::E;
        const bool from_half = from.kind == family::H || from.kind == family::E;
        if (to_half && to.pair && from.kind == family::F)
            return float_to_half(to.kind, get_float(i, 2)) | float_to_half(to.kind, get_float(i, 1))
                                                                 << 16;
        if (to_half && from.kind == family::F)
            return float_to_half(to.kind, get_float(i, 1));
        if (to.kind == family::F && from_half)
            return from_float(half_to_float(from.kind, get(i, 1)));
        if (to.kind == family::F && from.kind != family::F)
            return from_float((float)widen(get(i, 1), from));
        if (to.kind == family::F || from.kind == family::F || to_half || from_half)
            fail("unknown: " + i.text);
        return zero_extend((uint64_t)widen(get(i, 1), from), to.bytes);
    }

    /* ---- memory ---- */

    void access_memory(const instruction &i)
    {
        const bool loads = i.op == OP_ld, changes = i.op == OP_atom;
        const operand &place = i.operands[loads || changes ? 1 : 0];
        const operand &value = i.operands[loads || changes ? 0 : 1];
        const size_t bytes = i.first.bytes, all = bytes * (size_t)i.vector;
        if (i.in_parameters)
            return load(i, value, arguments.at((size_t)place.parameter).data() + place.value);
        unsigned char *pointer =
            i.in_shared ? shared_pointer(place, all, i) : (unsigned char *)address(place);
        gpu::check_alignment(pointer, all, i.text.c_str());
        if (changes)
            return set(value, change((uint32_t *)pointer, i));
        if (loads)
            return load(i, value, pointer);
        if (i.has("volatile"))
            return publish((uint32_t *)pointer, (uint32_t)get(value));
        is_fenced &= i.in_shared;
        for (int n = 0; n < i.vector; n++) {
            const uint64_t v = get(i.vector > 1 ? value.elements[(size_t)n] : value);
            memcpy(pointer + (size_t)n * bytes, &v, bytes);
        }
    }

    /* A word for the host: behind a fence of its own, for what this thread learned of others. */
    void publish(uint32_t *word, uint32_t value) const
    {
        if (!is_fenced)
            fail("a word for the host that no fence precedes");
        gpu::publish(word, value);
    }

    /* Fibers of one thread: nobody comes between the two steps. */
    uint32_t change(uint32_t *word, const instruction &i)
    {
        is_fenced = false;
        const uint32_t old = *word, by = (uint32_t)get(i, 2);
        if (i.first.kind != family::U || i.first.bytes != 4 || i.has("max") == i.has("add"))
            fail("unknown: " + i.text);
        *word = i.has("max") ? std::max(old, by) : old + by;
        return old;
    }

    void load(const instruction &i, const operand &to, const unsigned char *pointer)
    {
        const size_t bytes = i.first.bytes;
        for (int n = 0; n < i.vector; n++) {
            uint64_t v = 0;
            memcpy(&v, pointer + (size_t)n * bytes, bytes);
            if (i.first.kind == family::S)
                v = (uint64_t)sign_extend(v, i.first.bytes);
            set(i.vector > 1 ? to.elements[(size_t)n] : to, v);
        }
    }

    /* ---- what a warp or a block does together ---- */

    void act_together(const instruction &i)
    {
        const opcode op = i.op;
        if (op == OP_membar)
            fence(i);
        else if (op == OP_bar && i.has("warp"))
            gpu::warp_barrier((unsigned)get(i, 0));
        else if (op == OP_bar)
            gpu::block_barrier();
        else if (op == OP_shfl)
            shuffle(i);
        else if (op == OP_mma)
            multiply(i);
        else if (op == OP_ldmatrix)
            load_matrices(i);
        else if (i.has("commit_group"))
            gpu::copy_async_commit_group();
        else if (i.has("wait_group"))
            gpu::copy_async_wait_group((int)get(i, 0));
        else
            copy_async(i);
    }

    /* Narrower ones keep no order that the host could see. */
    void fence(const instruction &i)
    {
        if (!i.has("sys"))
            fail("a fence that is not for the host: " + i.text);
        gpu::system_fence();
        is_fenced = true;
    }

    void shuffle(const instruction &i)
    {
        const int lane = gpu::lane(), by = (int)get(i, 2);
        if (get(i, 3) != 31)
            fail("a shuffle of parts of a warp: " + i.text);
        const int source = i.has("bfly") ? lane ^ by : i.has("idx") ? by & 31 : -1;
        set(i, gpu::shuffle((unsigned)get(i, 4), zero_extend(get(i, 1), 4), source));
        if (i.operands[0].predicate >= 0)
            registers[(size_t)i.operands[0].predicate] = 1;
    }

    /* Fragments are registers of two elements each. */
    void read_fragment(float *out, const operand &fragment, family kind) const
    {
        for (size_t n = 0; n < fragment.elements.size(); n++) {
            out[2 * n] = half_to_float(kind, get(fragment.elements[n]));
            out[2 * n + 1] = half_to_float(kind, get(fragment.elements[n]) >> 16);
        }
    }

    void multiply(const instruction &i)
    {
        const family kind = i.second.kind;
        float a[8], b[4], d[4];
        if (!i.has("m16n8k16") || !i.has("row") || !i.has("col") || i.first.kind != family::F ||
            (kind != family::H && kind != family::E) || i.operands[1].elements.size() != 4 ||
            i.operands[2].elements.size() != 2)
            fail("a multiplication of another form: " + i.text);
        read_fragment(a, i.operands[1], kind);
        read_fragment(b, i.operands[2], kind);
        for (size_t n = 0; n < 4; n++)
            d[n] = to_float(get(i.operands[3].elements[n]));
        gpu::multiply_fragments(d, a, b);
        for (size_t n = 0; n < 4; n++)
            set(i.operands[0].elements[n], from_float(d[n]));
    }

    void load_matrices(const instruction &i)
    {
        uint32_t out[4];
        if (!i.has("x4") || !i.has("b16"))
            fail("a matrix load of another form: " + i.text);
        gpu::load_matrices(out, shared_pointer(i.operands[1], 16, i), i.has("trans"));
        for (size_t n = 0; n < 4; n++)
            set(i.operands[0].elements[n], out[n]);
    }

    void copy_async(const instruction &i)
    {
        const uint64_t bytes = i.operands.size() > 3 ? zero_extend(get(i, 3), 4) : 16;
        if (get(i, 2) != 16 || (bytes != 0 && bytes != 16))
            fail("a copy of another size: " + i.text);
        gpu::copy_async(shared_pointer(i.operands[0], 16, i), (const void *)address(i.operands[1]),
                        bytes == 16);
    }
};

void run_thread(const kernel &k, const std::vector<std::vector<unsigned char>> &arguments)
{
    thread(k, arguments).run();
}

} // namespace ptx
