/* The words in which oneDNN's major versions 2 (Debian 12) and 3 (Ubuntu 24.04) differ, said once
 * for each; cpu_dnnl.c uses the common names and includes this file alone. */
#ifndef WEIR_GPU_WORKER_CPU_DNNL_DIALECT_H
#define WEIR_GPU_WORKER_CPU_DNNL_DIALECT_H

#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if DNNL_VERSION_MAJOR >= 3

/* Version 3: descriptions are handles, a primitive's description is made in one call. */
typedef dnnl_memory_desc_t description;

static inline dnnl_status_t describe(description *result, uint32_t rows, uint32_t columns,
                                     uint32_t stride)
{
    dnnl_dims_t dims = {rows, columns}, strides = {stride, 1};
    return dnnl_memory_desc_create_with_strides(result, 2, dims, dnnl_f32, strides);
}

static inline dnnl_status_t describe_transposed(description *result, uint32_t rows,
                                                uint32_t columns)
{
    return dnnl_memory_desc_create_with_tag(result, 2, (dnnl_dims_t){rows, columns}, dnnl_f32,
                                            dnnl_ba);
}

static inline dnnl_status_t describe_any(description *result, uint32_t rows, uint32_t columns)
{
    return dnnl_memory_desc_create_with_tag(result, 2, (dnnl_dims_t){rows, columns}, dnnl_f32,
                                            dnnl_format_tag_any);
}

static inline void forget(description *desc)
{
    if (*desc)
        dnnl_memory_desc_destroy(*desc);
    *desc = NULL;
}

static inline dnnl_status_t copy_of_query(description *result,
                                          const_dnnl_primitive_desc_t primitive, dnnl_query_t what)
{
    return dnnl_memory_desc_clone(result, dnnl_primitive_desc_query_md(primitive, what, 0));
}

static inline dnnl_status_t make_memory(dnnl_memory_t *memory, const description *desc,
                                        dnnl_engine_t engine, void *bytes)
{
    return dnnl_memory_create(memory, *desc, engine, bytes);
}

static inline uint64_t size_of(const description *desc)
{
    return dnnl_memory_desc_get_size(*desc);
}

static inline bool same_description(const description *a, const description *b)
{
    return dnnl_memory_desc_equal(*a, *b);
}

static inline dnnl_status_t append_activation(dnnl_post_ops_t post_ops, dnnl_alg_kind_t algorithm)
{
    return dnnl_post_ops_append_eltwise(post_ops, algorithm, 0, 0);
}

static inline dnnl_status_t make_product(dnnl_primitive_desc_t *result, dnnl_engine_t engine,
                                         const description *in, const description *weights,
                                         const description *bias, const description *out,
                                         dnnl_primitive_attr_t attributes)
{
    return dnnl_matmul_primitive_desc_create(result, engine, *in, *weights, *bias, *out,
                                             attributes);
}

static inline dnnl_status_t make_reorder(dnnl_primitive_desc_t *result, dnnl_engine_t engine,
                                         const description *from, const description *to)
{
    return dnnl_reorder_primitive_desc_create(result, *from, engine, *to, engine, NULL);
}

#else

/* Version 2: descriptions are plain structs, an operation's description comes first. */
typedef dnnl_memory_desc_t description;

static inline dnnl_status_t describe(description *result, uint32_t rows, uint32_t columns,
                                     uint32_t stride)
{
    dnnl_dims_t dims = {rows, columns}, strides = {stride, 1};
    return dnnl_memory_desc_init_by_strides(result, 2, dims, dnnl_f32, strides);
}

static inline dnnl_status_t describe_transposed(description *result, uint32_t rows,
                                                uint32_t columns)
{
    return dnnl_memory_desc_init_by_tag(result, 2, (dnnl_dims_t){rows, columns}, dnnl_f32, dnnl_ba);
}

static inline dnnl_status_t describe_any(description *result, uint32_t rows, uint32_t columns)
{
    return dnnl_memory_desc_init_by_tag(result, 2, (dnnl_dims_t){rows, columns}, dnnl_f32,
                                        dnnl_format_tag_any);
}

static inline void forget(description *desc)
{
    memset(desc, 0, sizeof(*desc));
}

static inline dnnl_status_t copy_of_query(description *result,
                                          const_dnnl_primitive_desc_t primitive, dnnl_query_t what)
{
    const dnnl_memory_desc_t *found = dnnl_primitive_desc_query_md(primitive, what, 0);

    if (!found)
        return dnnl_runtime_error;
    *result = *found;
    return dnnl_success;
}

static inline dnnl_status_t make_memory(dnnl_memory_t *memory, const description *desc,
                                        dnnl_engine_t engine, void *bytes)
{
    return dnnl_memory_create(memory, desc, engine, bytes);
}

static inline uint64_t size_of(const description *desc)
{
    return dnnl_memory_desc_get_size(desc);
}

static inline bool same_description(const description *a, const description *b)
{
    return dnnl_memory_desc_equal(a, b);
}

static inline dnnl_status_t append_activation(dnnl_post_ops_t post_ops, dnnl_alg_kind_t algorithm)
{
    return dnnl_post_ops_append_eltwise(post_ops, 1.0f, algorithm, 0, 0);
}

static inline dnnl_status_t make_product(dnnl_primitive_desc_t *result, dnnl_engine_t engine,
                                         const description *in, const description *weights,
                                         const description *bias, const description *out,
                                         dnnl_primitive_attr_t attributes)
{
    dnnl_matmul_desc_t operation;
    dnnl_status_t status = dnnl_matmul_desc_init(&operation, in, weights, bias, out);

    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(result, &operation, attributes, engine, NULL);
    return status;
}

static inline dnnl_status_t make_reorder(dnnl_primitive_desc_t *result, dnnl_engine_t engine,
                                         const description *from, const description *to)
{
    return dnnl_reorder_primitive_desc_create(result, from, engine, to, engine, NULL);
}

#endif

#endif
