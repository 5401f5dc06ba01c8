/* A product keeps, for each thread, the library's memory objects of its operands; running it points
 * them at the caller's buffers. Weights have objects of their own, made once: pointing an object
 * with a padded layout somewhere else makes the library write the padding anew.
 *
 * The library itself takes and gives back a few small nodes (its map of arguments) inside each
 * call; tests/gpu_worker counts that nothing stays. */
#include "gpu_worker/cpu_dnnl.h"

#include "gpu_worker/cpu_dnnl_dialect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct cpu_dnnl {
    dnnl_engine_t engine;
    uint32_t n_threads;
    dnnl_stream_t *streams; /* (n_threads) */
};

struct operands {
    dnnl_memory_t in, out, scratch;
};

struct cpu_dnnl_product {
    struct cpu_dnnl *dnnl;
    struct cpu_dnnl_shape shape;
    uint32_t rows;
    description weights, bias, scratch;
    dnnl_primitive_t primitive;
    struct operands *operands; /* (n_threads) */
};

struct cpu_dnnl_weights {
    dnnl_memory_t weights, bias;
};

void cpu_dnnl_version(char version[32])
{
    const dnnl_version_t *found = dnnl_version();
    snprintf(version, 32, "%d.%d.%d", found->major, found->minor, found->patch);
}

/* ---- engine and streams ---------------------------------------------------------------------- */

struct cpu_dnnl *cpu_dnnl_create(uint32_t n_threads, char error[ERROR_BYTES])
{
    struct cpu_dnnl *dnnl = calloc(1, sizeof(*dnnl));
    dnnl_status_t status = dnnl_out_of_memory;

    if (dnnl)
        dnnl->streams = calloc(n_threads, sizeof(*dnnl->streams));
    if (dnnl && dnnl->streams)
        status = dnnl_engine_create(&dnnl->engine, dnnl_cpu, 0);
    for (uint32_t i = 0; status == dnnl_success && i < n_threads; i++) {
        status = dnnl_stream_create(&dnnl->streams[i], dnnl->engine, dnnl_stream_default_flags);
        if (status == dnnl_success)
            dnnl->n_threads++;
    }
    if (status != dnnl_success) {
        snprintf(error, ERROR_BYTES, "oneDNN cannot make its CPU engine (status %d)", status);
        cpu_dnnl_destroy(dnnl);
        return NULL;
    }
    return dnnl;
}

void cpu_dnnl_destroy(struct cpu_dnnl *dnnl)
{
    if (!dnnl)
        return;
    for (uint32_t i = 0; i < dnnl->n_threads; i++)
        dnnl_stream_destroy(dnnl->streams[i]);
    if (dnnl->engine)
        dnnl_engine_destroy(dnnl->engine);
    free(dnnl->streams);
    free(dnnl);
}

/* ---- products -------------------------------------------------------------------------------- */

static dnnl_status_t make_attributes(dnnl_primitive_attr_t *attributes,
                                     enum cpu_activation activation)
{
    static const dnnl_alg_kind_t algorithms[] = {
        [CPU_ACTIVATION_GELU] = dnnl_eltwise_gelu_erf,
        [CPU_ACTIVATION_RELU] = dnnl_eltwise_relu,
    };
    dnnl_post_ops_t post_ops = NULL;
    dnnl_status_t status = dnnl_primitive_attr_create(attributes);

    /* "user": the scratch comes from us, so that running allocates none and threads share none. */
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_scratchpad_mode(*attributes, dnnl_scratchpad_mode_user);
    if (status != dnnl_success || activation == CPU_ACTIVATION_NONE)
        return status;
    status = dnnl_post_ops_create(&post_ops);
    if (status == dnnl_success)
        status = append_activation(post_ops, algorithms[activation]);
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(*attributes, post_ops);
    if (post_ops)
        dnnl_post_ops_destroy(post_ops);
    return status;
}

static dnnl_status_t make_primitive(struct cpu_dnnl_product *product, const description *in,
                                    const description *weights, const description *out)
{
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t primitive = NULL;
    dnnl_status_t status = make_attributes(&attributes, product->shape.activation);

    if (status == dnnl_success)
        status = make_product(&primitive, product->dnnl->engine, in, weights, &product->bias, out,
                              attributes);
    if (status == dnnl_success)
        status = copy_of_query(&product->weights, primitive, dnnl_query_weights_md);
    if (status == dnnl_success)
        status = copy_of_query(&product->scratch, primitive, dnnl_query_scratchpad_md);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&product->primitive, primitive);
    if (primitive)
        dnnl_primitive_desc_destroy(primitive);
    if (attributes)
        dnnl_primitive_attr_destroy(attributes);
    return status;
}

static dnnl_status_t make_operands(struct cpu_dnnl_product *product, const description *in,
                                   const description *out)
{
    dnnl_engine_t engine = product->dnnl->engine;
    dnnl_status_t status = dnnl_success;

    for (uint32_t i = 0; status == dnnl_success && i < product->dnnl->n_threads; i++) {
        struct operands *operands = &product->operands[i];
        status = make_memory(&operands->in, in, engine, DNNL_MEMORY_NONE);
        if (status == dnnl_success)
            status = make_memory(&operands->out, out, engine, DNNL_MEMORY_NONE);
        if (status == dnnl_success)
            status = make_memory(&operands->scratch, &product->scratch, engine, DNNL_MEMORY_NONE);
    }
    return status;
}

static dnnl_status_t build_product(struct cpu_dnnl_product *product)
{
    const struct cpu_dnnl_shape *shape = &product->shape;
    description in = {0}, weights = {0}, out = {0};
    dnnl_status_t status = describe(&in, product->rows, shape->in_dim, shape->in_stride);

    if (status == dnnl_success)
        status = describe_any(&weights, shape->in_dim, shape->out_dim);
    if (status == dnnl_success)
        status = describe(&product->bias, 1, shape->out_dim, shape->out_dim);
    if (status == dnnl_success)
        status = describe(&out, product->rows, shape->out_dim, shape->out_stride);
    if (status == dnnl_success)
        status = make_primitive(product, &in, &weights, &out);
    if (status == dnnl_success)
        status = make_operands(product, &in, &out);
    forget(&in);
    forget(&weights);
    forget(&out);
    return status;
}

struct cpu_dnnl_product *cpu_dnnl_product_create(struct cpu_dnnl *dnnl,
                                                 const struct cpu_dnnl_shape *shape, uint32_t rows,
                                                 char error[ERROR_BYTES])
{
    struct cpu_dnnl_product *product = calloc(1, sizeof(*product));
    dnnl_status_t status = dnnl_out_of_memory;

    if (product) {
        product->dnnl = dnnl;
        product->shape = *shape;
        product->rows = rows;
        product->operands = calloc(dnnl->n_threads, sizeof(*product->operands));
    }
    if (product && product->operands)
        status = build_product(product);
    if (status != dnnl_success) {
        snprintf(error, ERROR_BYTES, "oneDNN cannot make a product of %u x %u by %u (status %d)",
                 rows, shape->in_dim, shape->out_dim, status);
        cpu_dnnl_product_destroy(product);
        return NULL;
    }
    return product;
}

static void destroy_memory(dnnl_memory_t memory)
{
    if (memory)
        dnnl_memory_destroy(memory);
}

void cpu_dnnl_product_destroy(struct cpu_dnnl_product *product)
{
    if (!product)
        return;
    for (uint32_t i = 0; product->operands && i < product->dnnl->n_threads; i++) {
        destroy_memory(product->operands[i].in);
        destroy_memory(product->operands[i].out);
        destroy_memory(product->operands[i].scratch);
    }
    if (product->primitive)
        dnnl_primitive_destroy(product->primitive);
    forget(&product->weights);
    forget(&product->bias);
    forget(&product->scratch);
    free(product->operands);
    free(product);
}

uint64_t cpu_dnnl_weights_bytes(const struct cpu_dnnl_product *product)
{
    return size_of(&product->weights);
}

uint64_t cpu_dnnl_scratch_bytes(const struct cpu_dnnl_product *product)
{
    return size_of(&product->scratch);
}

bool cpu_dnnl_same_packing(const struct cpu_dnnl_product *a, const struct cpu_dnnl_product *b)
{
    return same_description(&a->weights, &b->weights);
}

/* ---- weights --------------------------------------------------------------------------------- */

static dnnl_status_t pack(struct cpu_dnnl *dnnl, const struct cpu_dnnl_product *product,
                          const float *weight, dnnl_memory_t packed, dnnl_stream_t stream)
{
    description plain = {0};
    dnnl_memory_t source = NULL;
    dnnl_primitive_desc_t reorder = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_status_t status =
        describe_transposed(&plain, product->shape.in_dim, product->shape.out_dim);

    if (status == dnnl_success) /* the library takes no const pointer; it only reads */
        status = make_memory(&source, &plain, dnnl->engine, (void *)(uintptr_t)weight);
    if (status == dnnl_success)
        status = make_reorder(&reorder, dnnl->engine, &plain, &product->weights);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&primitive, reorder);
    if (status == dnnl_success) {
        dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, packed}};
        status =
            dnnl_primitive_execute(primitive, dnnl->streams[0], ARRAY_COUNT(arguments), arguments);
    }
    if (status == dnnl_success)
        status = dnnl_stream_wait(stream);
    if (primitive)
        dnnl_primitive_destroy(primitive);
    if (reorder)
        dnnl_primitive_desc_destroy(reorder);
    destroy_memory(source);
    forget(&plain);
    return status;
}

struct cpu_dnnl_weights *cpu_dnnl_weights_create(struct cpu_dnnl *dnnl, uint32_t thread,
                                                 const struct cpu_dnnl_product *product,
                                                 const float *weight, float *bias, void *packed,
                                                 char error[ERROR_BYTES])
{
    struct cpu_dnnl_weights *weights = calloc(1, sizeof(*weights));
    dnnl_status_t status = dnnl_out_of_memory;

    if (weights)
        status = make_memory(&weights->weights, &product->weights, dnnl->engine, packed);
    if (status == dnnl_success)
        status = make_memory(&weights->bias, &product->bias, dnnl->engine, bias);
    if (status == dnnl_success)
        status = pack(dnnl, product, weight, weights->weights, dnnl->streams[thread]);
    if (status != dnnl_success) {
        snprintf(error, ERROR_BYTES, "oneDNN cannot pack a weight matrix of %u x %u (status %d)",
                 product->shape.out_dim, product->shape.in_dim, status);
        cpu_dnnl_weights_destroy(weights);
        return NULL;
    }
    return weights;
}

void cpu_dnnl_weights_destroy(struct cpu_dnnl_weights *weights)
{
    if (!weights)
        return;
    destroy_memory(weights->weights);
    destroy_memory(weights->bias);
    free(weights);
}

/* ---- running --------------------------------------------------------------------------------- */

int cpu_dnnl_run(struct cpu_dnnl_product *product, uint32_t thread,
                 const struct cpu_dnnl_weights *weights, const float *in, float *out, void *scratch)
{
    struct operands *operands = &product->operands[thread];
    dnnl_stream_t stream = product->dnnl->streams[thread];
    dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, operands->in},
        {DNNL_ARG_WEIGHTS, weights->weights},
        {DNNL_ARG_BIAS, weights->bias},
        {DNNL_ARG_DST, operands->out},
        {DNNL_ARG_SCRATCHPAD, operands->scratch},
    };

    if (dnnl_memory_set_data_handle(operands->in, (void *)(uintptr_t)in) != dnnl_success ||
        dnnl_memory_set_data_handle(operands->out, out) != dnnl_success ||
        dnnl_memory_set_data_handle(operands->scratch, scratch) != dnnl_success ||
        dnnl_primitive_execute(product->primitive, stream, ARRAY_COUNT(arguments), arguments) !=
            dnnl_success ||
        dnnl_stream_wait(stream) != dnnl_success)
        return -EIO;
    return 0;
}
