/* A pool for response_buffer, like libh2o's: blocks live until pool_free_blocks(). */
#ifndef WEIR_TESTS_PROTO_POOL_H
#define WEIR_TESTS_PROTO_POOL_H

#include "tests/test.h"

#define POOL_BLOCKS_MAX 64

static void *pool_blocks[POOL_BLOCKS_MAX];
static size_t n_pool_blocks;

static void *pool_allocate(void *context, size_t size)
{
    EXPECT(n_pool_blocks < POOL_BLOCKS_MAX);
    return pool_blocks[n_pool_blocks++] = malloc(size);
}

static void pool_free_blocks(void)
{
    while (n_pool_blocks > 0)
        free(pool_blocks[--n_pool_blocks]);
}

#endif
