/* Warp-wide operations of the emulated GPU: each lane leaves its operands and waits; when the last
 * lane of the mask has come, the operation is carried out for all at once, with the fragment
 * layouts of the PTX manual. */
#include "emulation/machine.h"

#include <string.h>

#include <algorithm>

namespace gpu
{

/* mma.m16n8k16: lane l holds rows l/4 and l/4 + 8 of a and d, column l/4 of b. */
static void carry_out_multiply(fiber *lanes)
{
    float a[16][16], b[16][8];
    for (int l = 0; l < 32; l++) {
        const int group = l / 4, pair = l % 4 * 2;
        for (int i = 0; i < 8; i++)
            a[group + i / 2 % 2 * 8][pair + i % 2 + i / 4 * 8] = lanes[l].a[i];
        for (int i = 0; i < 4; i++)
            b[pair + i % 2 + i / 2 * 8][group] = lanes[l].b[i];
    }
    for (int l = 0; l < 32; l++)
        for (int i = 0; i < 4; i++) {
            const int row = l / 4 + i / 2 * 8, column = l % 4 * 2 + i % 2;
            for (int k = 0; k < 16; k++)
                lanes[l].d[i] += a[row][k] * b[k][column];
        }
    the_machine.count.mmas++;
}

/* ldmatrix.x4: lane 8 m + r names row r of matrix m; lane l gets elements 2 (l%4) and the next of
 * row l/4, or of column l/4 where transposed. */
static void carry_out_load(fiber *lanes, bool transposed)
{
    for (int matrix = 0; matrix < 4; matrix++) {
        uint16_t rows[8][8];
        unsigned banks_seen = 0;
        for (int r = 0; r < 8; r++) {
            const void *row = check_matrix_row(lanes[matrix * 8 + r].row);
            const unsigned group = 1u << ((uintptr_t)row / 16 % 8);
            the_machine.count.bank_conflicts += (banks_seen & group) != 0;
            banks_seen |= group;
            memcpy(rows[r], row, 16);
        }
        for (int l = 0; l < 32; l++) {
            const int fixed = l / 4, first = l % 4 * 2;
            const uint32_t low = transposed ? rows[first][fixed] : rows[fixed][first];
            const uint32_t high = transposed ? rows[first + 1][fixed] : rows[fixed][first + 1];
            lanes[l].out[matrix] = low | high << 16;
        }
    }
    the_machine.count.ldmatrices++;
}

static void carry_out_shuffle(fiber *lanes, unsigned mask, int n_lanes)
{
    uint64_t values[32];
    for (int l = 0; l < n_lanes; l++)
        values[l] = lanes[l].value;
    for (int l = 0; l < n_lanes; l++) {
        if ((mask >> l & 1) == 0)
            continue;
        const int source = lanes[l].source_lane;
        if (source < 0 || source >= n_lanes || (mask >> source & 1) == 0)
            fail("a shuffle reads a lane outside its mask");
        lanes[l].value = values[source];
    }
}

static void carry_out(fiber *lanes, warp_operation operation, unsigned mask, int n_lanes)
{
    the_machine.count.collectives++;
    if (operation >= MULTIPLY && mask != 0xffffffffu)
        fail("a tensor-core operation without the full warp");
    switch (operation) {
    case SYNC:
        break;
    case SHUFFLE:
        carry_out_shuffle(lanes, mask, n_lanes);
        break;
    case MULTIPLY:
        carry_out_multiply(lanes);
        break;
    case LOAD_MATRICES:
    case LOAD_MATRICES_TRANSPOSED:
        carry_out_load(lanes, operation == LOAD_MATRICES_TRANSPOSED);
        break;
    }
}

/* Whether every lane of the mask stands at the same operation. A lane that left, or stands
 * elsewhere in the warp's code, is a bug of the kernel. */
static bool lanes_have_come(const fiber *lanes, const fiber &first, unsigned mask, int n_lanes)
{
    for (int l = 0; l < n_lanes; l++) {
        if ((mask >> l & 1) == 0)
            continue;
        if (lanes[l].state == LEFT)
            fail("a warp operation names a lane that has left");
        if (lanes[l].state != AT_WARP_OPERATION)
            return false;
        if (lanes[l].operation != first.operation || lanes[l].mask != first.mask)
            fail("lanes of one mask stand at different warp operations");
    }
    return true;
}

bool complete_warp_operations(int warp)
{
    machine &m = the_machine;
    fiber *lanes = m.fibers + warp * 32;
    const int n_lanes = std::min(32, m.n_threads - warp * 32);
    const unsigned existing = n_lanes == 32 ? 0xffffffffu : (1u << n_lanes) - 1;
    bool any = false;
    for (int l = 0; l < n_lanes; l++) {
        const unsigned mask = lanes[l].mask & existing;
        if (lanes[l].state != AT_WARP_OPERATION || !lanes_have_come(lanes, lanes[l], mask, n_lanes))
            continue;
        carry_out(lanes, lanes[l].operation, mask, n_lanes);
        any = true;
        for (int k = 0; k < n_lanes; k++)
            if (mask >> k & 1)
                lanes[k].state = READY;
    }
    return any;
}

static void wait_for_warp(warp_operation operation, unsigned mask)
{
    fiber &f = *the_machine.running;
    if ((mask >> f.lane & 1) == 0)
        fail("a lane calls a warp operation whose mask leaves it out");
    f.operation = operation;
    f.mask = mask;
    f.state = AT_WARP_OPERATION;
    yield_to_scheduler();
}

void warp_barrier(unsigned mask)
{
    wait_for_warp(SYNC, mask);
}

uint64_t shuffle(unsigned mask, uint64_t value, int source_lane)
{
    fiber &f = *the_machine.running;
    f.value = value;
    f.source_lane = source_lane;
    wait_for_warp(SHUFFLE, mask);
    return f.value;
}

void multiply_fragments(float d[4], const float a[8], const float b[4])
{
    fiber &f = *the_machine.running;
    f.a = a;
    f.b = b;
    f.d = d;
    wait_for_warp(MULTIPLY, 0xffffffffu);
}

void load_matrices(uint32_t out[4], const void *row, bool transposed)
{
    fiber &f = *the_machine.running;
    f.row = row;
    f.out = out;
    wait_for_warp(transposed ? LOAD_MATRICES_TRANSPOSED : LOAD_MATRICES, 0xffffffffu);
}

} // namespace gpu
