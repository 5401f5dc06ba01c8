"""The planted bugs of tests/cuda/mutate.py: the file under gpu_worker/, what stands there, and what
the bug puts in its place. The text must stand there once: test_cuda_mutants_apply looks."""

MUTANTS = [
    # LayerNorm and embedding
    (
        "kernels/element.cuh",
        "value += __shfl_xor_sync(ALL_LANES, value, distance)",
        "value += __shfl_xor_sync(ALL_LANES, value, distance > 8 ? 8 : distance)",
    ),
    (
        "kernels/element.cuh",
        "distance = WARP_THREADS / 2; distance > 0; distance /= 2)\n        value +=",
        "distance = WARP_THREADS / 4; distance > 0; distance /= 2)\n        value +=",
    ),
    (
        "kernels/element.cuh",
        "distance = WARP_THREADS / 2; distance > 0; distance /= 2)\n        value = fmaxf",
        "distance = WARP_THREADS / 4; distance > 0; distance /= 2)\n        value = fmaxf",
    ),
    (
        "kernels/layernorm.cuh",
        "lane_column(i) < hidden_dim ? x[i][j] : 0.0f",
        "x[i][j]",
    ),
    (
        "kernels/layernorm.cuh",
        "lane_column(i) < hidden_dim ? x[i][j] - mean : 0.0f",
        "x[i][j] - mean",
    ),
    (
        "kernels/layernorm.cuh",
        "warp_sum(squares) / hidden_dim + eps",
        "warp_sum(squares) / hidden_dim",
    ),
    (
        "kernels/layernorm.cuh",
        "warp_sum(squares) / hidden_dim + eps",
        "warp_sum(squares) / (hidden_dim - 1) + eps * 4.0f",
    ),
    (
        "kernels/layernorm.cuh",
        "x[i][j] * scale * w[j] + b[j]",
        "x[i][j] * scale * w[j]",
    ),
    (
        "kernels/layernorm.cuh",
        "x[i][j] * scale * w[j] + b[j]",
        "(x[i][j] * scale + b[j]) * w[j]",
    ),
    (
        "kernels/layernorm.cuh",
        "        if (column < hidden_dim) {\n            store_vector",
        "        {\n            store_vector",
    ),
    (
        "kernels/layernorm.cuh",
        "    if (row >= n_rows)\n        return;",
        "",
    ),
    (
        "kernels/layernorm.cuh",
        "hidden_dim - VECTOR_ELEMENTS)",
        "hidden_dim)",
    ),
    (
        "kernels/layernorm.cuh",
        "(hidden_dim) <= 512 ",
        "(hidden_dim) <= 600 ",
    ),
    (
        "kernels/embed.cuh",
        "min(index, n_rows - 1)",
        "min(index, n_rows)",
    ),
    (
        "kernels/embed.cuh",
        "min(index, n_rows - 1)",
        "index",
    ),
    (
        "kernels/embed.cuh",
        "number % BATCHES_IN_FLIGHT",
        "0u",
    ),
    (
        "kernels/embed.cuh",
        "*batch.batches_done + 1",
        "*batch.batches_done",
    ),
    (
        "kernels/embed.cuh",
        "    __syncthreads();\n",
        "",
    ),
    (
        "kernels/embed.cuh",
        "type == TOKEN_FILLER",
        "type == 0xfffeu",
    ),
    (
        "kernels/embed.cuh",
        "i <= header->n_sequences",
        "i < header->n_sequences",
    ),
    (
        "kernels/embed.cuh",
        "i < n_work; i",
        "i + 1 < n_work; i",
    ),
    (
        "kernels/embed.cuh",
        "if (tables.n_types > 0)",
        "if (tables.n_types > 2)",
    ),
    (
        "kernels/embed.cuh",
        "if (first_row + warp >= n_rows)\n        return;",
        "",
    ),
    (
        "kernels/embed.cuh",
        "ceil_div(n_rows, EMBED_WARPS) + 1)",
        "ceil_div(n_rows, EMBED_WARPS))",
    ),
    # GELU and conversion
    (
        "kernels/gelu.cuh",
        "copysignf(1.0f - polynomial * exp2f(-x * x * log2_e), x)",
        "1.0f - polynomial * exp2f(-x * x * log2_e)",
    ),
    (
        "kernels/gelu.cuh",
        "-0.284496736f",
        "-0.274496736f",
    ),
    (
        "kernels/gelu.cuh",
        "1.44269504089f",
        "1.0f",
    ),
    (
        "kernels/gelu.cuh",
        "0.5f * x * (1.0f + erf_approximate(x * sqrt_half))",
        "0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)))",
    ),
    (
        "kernels/gelu.cuh",
        "    if (i >= n_vectors)\n        return;",
        "",
    ),
    (
        "kernels/convert.cuh",
        "    if (i >= n_elements)\n        return;",
        "",
    ),
    (
        "kernels/convert.cuh",
        "&& !isinf(in[i])",
        "&& isinf(in[i])",
    ),
    # attention on tensor cores
    (
        "kernels/attention.cuh",
        "key < length ?",
        "key <= length ?",
    ),
    (
        "kernels/attention.cuh",
        "scores[j][i] * scale_log2 : MASKED_SCORE",
        "scores[j][i] * scale_log2 : 0.0f",
    ),
    (
        "kernels/attention.cuh",
        "rows.sum[half] *= rescale;",
        "",
    ),
    (
        "kernels/attention.cuh",
        "rows.context[j][2 * half] *= rescale;",
        "",
    ),
    (
        "kernels/attention.cuh",
        "max[half] = fmaxf(max[half], __shfl_xor_sync(ALL_LANES, max[half], 2));",
        "",
    ),
    (
        "kernels/attention.cuh",
        "sum += __shfl_xor_sync(ALL_LANES, sum, 2);",
        "",
    ),
    (
        "kernels/attention.cuh",
        "        __syncthreads(); /* tile i is there for all */\n",
        "",
    ),
    (
        "kernels/attention.cuh",
        "        __syncthreads(); /* nobody needs tile i any longer */\n",
        "",
    ),
    (
        "kernels/attention.cuh",
        "copy_async_wait<1>();",
        "copy_async_wait<2>();",
    ),
    (
        "kernels/attention.cuh",
        "ldmatrix_x4_transposed(",
        "ldmatrix_x4(",
    ),
    (
        "kernels/attention.cuh",
        "mma_m16n8k16(scores[2 * j + 1], rows.query[k], key + 2);",
        "mma_m16n8k16(scores[2 * j + 1], rows.query[k], key);",
    ),
    (
        "kernels/attention.cuh",
        "mma_m16n8k16(rows.context[2 * j], weight, value);",
        "mma_m16n8k16(rows.context[2 * j], weight, value + 2);",
    ),
    (
        "kernels/attention.cuh",
        "const uint32_t turn = chunks == 8 ? row % 8 : row / 2 % 4;",
        "const uint32_t turn = 0;",
    ),
    (
        "kernels/attention.cuh",
        "row % 8 : row / 2 % 4",
        "row % 8 : row % 4",
    ),
    (
        "kernels/attention.cuh",
        "const bool live = first_row + row < length;",
        "const bool live = true;",
    ),
    (
        "kernels/attention.cuh",
        "        if (row >= length)\n            continue;",
        "",
    ),
    (
        "kernels/attention.cuh",
        "if (work.length <= 16)",
        "if (work.length <= 24)",
    ),
    (
        "kernels/attention.cuh",
        "block += gridDim.x",
        "block += gridDim.x * 2",
    ),
    (
        "kernels/attention.cuh",
        "block < header->n_blocks;",
        "block + 1 < header->n_blocks;",
    ),
    (
        "kernels/attention.cuh",
        "    if (word == WORK_NONE)\n        return work;",
        "",
    ),
    (
        "kernels/attention.cuh",
        "const int slot = i % 2 * tile;",
        "const int slot = 0;",
    ),
    (
        "kernels/attention.cuh",
        "lane % 4 * 2 + i % 2",
        "lane % 4 * 2",
    ),
    (
        "kernels/attention.cuh",
        "        if (work.first_row < work.length)\n            attend_tile",
        "        if (work.first_row + lane / 4 < work.length)\n            attend_tile",
    ),
    (
        "kernels/attention.cuh",
        "floats_to_bits(weights[2 * k][2], weights[2 * k][3])",
        "floats_to_bits(weights[2 * k][3], weights[2 * k][2])",
    ),
    # attention by rows
    (
        "kernels/attention_rows.cuh",
        "lane < n_keys ? product",
        "lane <= n_keys ? product",
    ),
    (
        "kernels/attention_rows.cuh",
        "weight_sum * rescale + warp_sum(weight)",
        "weight_sum + warp_sum(weight)",
    ),
    (
        "kernels/attention_rows.cuh",
        "sums[c] *= rescale;",
        "",
    ),
    (
        "kernels/attention_rows.cuh",
        "first_key + min(i, n_keys - 1)",
        "first_key + i",
    ),
    (
        "kernels/attention_rows.cuh",
        "cu_seqlens[middle] <= token",
        "cu_seqlens[middle] < token",
    ),
    (
        "kernels/attention_rows.cuh",
        "    if (sequence >= header->n_sequences)\n        return;",
        "",
    ),
    (
        "kernels/attention_rows.cuh",
        "if (c * WARP_THREADS + lane < a.head_dim)\n            context",
        "context",
    ),
    (
        "kernels/attention_launch.cuh",
        "log2_e / sqrtf((float)head_dim)",
        "log2_e / 8.0f",
    ),
    # the head
    (
        "kernels/head.cuh",
        "const bool live = sequence < header->n_sequences;",
        "const bool live = true;",
    ),
    (
        "kernels/head.cuh",
        "if (sequence == 0 && threadIdx.x == 0)",
        "if (sequence == 1 && threadIdx.x == 1)",
    ),
    (
        "kernels/head.cuh",
        "pooled[i] + pooler_bias[i]",
        "pooled[i]",
    ),
    (
        "kernels/head.cuh",
        "activation == POOLER_TANH",
        "activation != POOLER_TANH",
    ),
    (
        "kernels/head.cuh",
        "    __syncthreads();\n    if (threadIdx.x > 0",
        "    if (threadIdx.x > 0",
    ),
    (
        "kernels/head.cuh",
        "!= gridDim.x - 1)",
        "!= gridDim.x)",
    ),
    (
        "kernels/head.cuh",
        "!= gridDim.x - 1)",
        "!= 0)",
    ),
    (
        "kernels/head.cuh",
        "    *batch.tickets = 0;\n",
        "",
    ),
    (
        "kernels/head.cuh",
        "    *batch.batches_done = number;\n",
        "",
    ),
    (
        "kernels/head.cuh",
        "    if (sequence < header->n_sequences) {",
        "    if (sequence <= header->n_sequences) {",
    ),
    (
        "kernels/head.cuh",
        "sum + bias[label]",
        "sum + bias[0]",
    ),
    # what only nvcc sees
    (
        "kernels/portable.cuh",
        "*(volatile uint32_t *)word = value;",
        "*word = value;",
    ),
    (
        "kernels/portable.cuh",
        "    __threadfence_system();\n",
        "    __threadfence();\n",
    ),
    # our GEMM
    (
        "kernels/gemm.cuh",
        "            copy_async_wait<GEMM_STAGES - 2>();\n            __syncthreads();",
        "            copy_async_wait<GEMM_STAGES - 2>();",
    ),
    (
        "kernels/gemm.cuh",
        "copy_async_wait<GEMM_STAGES - 2>()",
        "copy_async_wait<GEMM_STAGES - 1>()",
    ),
    (
        "kernels/gemm.cuh",
        "                if (row < n_rows)\n",
        "",
    ),
    (
        "kernels/gemm.cuh",
        "        low += before.x;\n",
        "",
    ),
    (
        "kernels/gemm.cuh",
        "high = fmaxf(high, 0.0f);",
        "high = fmaxf(high, -1.0f);",
    ),
    (
        "kernels/gemm.cuh",
        "make_float2(low, high)",
        "make_float2(low, low)",
    ),
    (
        "kernels/gemm.cuh",
        "chunk ^ (row / 2 % 4)",
        "chunk",
    ),
    (
        "kernels/gemm.cuh",
        "w[j / 2] + j % 2 * 2",
        "w[j / 2] + (1 - j % 2) * 2",
    ),
    (
        "kernels/gemm.cuh",
        "high += element_to_float(bias[1])",
        "high += element_to_float(bias[0])",
    ),
    # the host side
    (
        "cuda_batch.c",
        "i >= batch->type_starts[s]",
        "i > batch->type_starts[s]",
    ),
    (
        "cuda_batch.c",
        ".position = (uint16_t)i,",
        ".position = (uint16_t)(first + i),",
    ),
    (
        "cuda_batch.c",
        "        if (length <= WORK_NARROW_LENGTH)\n            continue;",
        "        if (length < WORK_NARROW_LENGTH)\n            continue;",
    ),
    (
        "cuda_batch.c",
        "max_tokens / WORK_NARROW_LENGTH + 1",
        "max_tokens / WORK_WIDE_ROWS + 1",
    ),
    (
        "cuda_flight.c",
        "const uint32_t number = e->submitted + 1, slot",
        "const uint32_t number = e->submitted + 2, slot",
    ),
    (
        "cuda_flight.c",
        "e->logits + (size_t)slot * e->logits_stride",
        "e->logits",
    ),
    (
        "cuda_flight.c",
        "    if (waited_ns < e->watchdog_ns)\n        return 0;",
        "    if (true)\n        return 0;",
    ),
    (
        "cuda_flight.c",
        "    if (status != cudaSuccess && status != cudaErrorNotReady) {",
        "    if (status == cudaErrorUnknown) {",
    ),
    (
        "cuda_forward.c",
        "gemms[CUDA_GEMM_attention_output].beta = gemms[CUDA_GEMM_ffn_out].beta = 1.0f;",
        "gemms[CUDA_GEMM_attention_output].beta = 1.0f;",
    ),
    (
        "cuda_forward.c",
        "layernorm(queue, a->cls_x, NO_CODES, &layer->attention_norm);",
        "layernorm(queue, a->cls_x, NO_CODES, &layer->output_norm);",
    ),
    (
        "cuda_forward.c",
        "i < last; i++",
        "i + 1 < last; i++",
    ),
    (
        "cuda_forward.c",
        "row_of(e, layer->qkv.bias, hidden_dim, 1)",
        "layer->qkv.bias",
    ),
    (
        "cuda_forward.c",
        "[CUDA_GEMM_ffn_out] = {hidden, ffn_dim}",
        "[CUDA_GEMM_ffn_out] = {ffn_dim, hidden}",
    ),
    (
        "cuda_forward.c",
        "e->config.architecture == MODEL_BERT ? POOLER_TANH",
        "e->config.architecture != MODEL_BERT ? POOLER_TANH",
    ),
    (
        "cuda_forward.c",
        "CUBLASLT_EPILOGUE_DEFAULT; /*",
        "CUBLASLT_EPILOGUE_BIAS; /*",
    ),
    (
        "cuda_gemm.c",
        "const cublasOperation_t transposed = CUBLAS_OP_T",
        "const cublasOperation_t transposed = CUBLAS_OP_N",
    ),
    (
        "cuda_gemm.c",
        "    cuda_gemm_call_close(&context->blas, &call);\n    return result;",
        "    return result;",
    ),
    (
        "cuda_trial.c",
        "!equals_reference(run, algorithm) ||",
        "false ||",
    ),
    (
        "cuda_trial.c",
        "const uint32_t no_split_k = CUBLASLT_REDUCTION_SCHEME_NONE;",
        "const uint32_t no_split_k = CUBLASLT_REDUCTION_SCHEME_MASK;",
    ),
    (
        "cuda_weights.c",
        "bias ? &place->bias : &place->weight);\n"
        "            list->weights[list->count - 1].part = part;",
        "bias ? &place->bias : &place->weight);\n"
        "            list->weights[list->count - 1].part = 0;",
    ),
    (
        "cuda_weights.c",
        "list->weights[list->count - 1].float32 = true;",
        "",
    ),
    (
        "cuda_weights.c",
        "cudaStreamSynchronize(upload->stream)",
        "cudaSuccess",
    ),
    (
        "cuda_memory.c",
        "plan->total_bytes += align_up_u64(bytes, CUDA_REGION_ALIGNMENT);",
        "plan->total_bytes += bytes;",
    ),
    (
        "cuda_bucket.c",
        "buckets->rows[middle] >= rows",
        "buckets->rows[middle] > rows",
    ),
    (
        "cuda_blas.c",
        "        blas->destroy(blas->handle);",
        "        ;",
    ),
    # Graphs in the background
    (
        "cuda_graphs.c",
        "        cuda_check_logged(cudaGraphDestroy(graph), \"a capture's end\");",
        "        ;",
    ),
    (
        "cuda_graphs.c",
        "cudaStreamCaptureModeThreadLocal",
        "cudaStreamCaptureModeGlobal",
    ),
    (
        "cuda_graphs.c",
        "cudaStreamSynchronize(twin->stream)",
        "cudaSuccess",
    ),
    (
        "cuda_graphs.c",
        "    twin->gemm_context.stream = twin->stream;\n",
        "",
    ),
    (
        "cuda_graphs.c",
        "    result = enqueue(twin, bucket, error);\n",
        "    result = enqueue(twin, bucket, error);\n    if (result)\n        return result;\n",
    ),
    (
        "cuda_graphs.c",
        "    cudaGetLastError(); /* else",
        "    /* else",
    ),
    (
        "cuda_graphs.c",
        "    if (result != 0)\n        cuda_check_logged(cudaGraphExecDestroy(*exec)",
        "    if (false)\n        cuda_check_logged(cudaGraphExecDestroy(*exec)",
    ),
    (
        "cuda_graphs.c",
        "        pthread_join(graphs->thread, NULL);",
        "        ;",
    ),
    (
        "cuda_graphs.c",
        "return __atomic_load_n(&graphs->stop, __ATOMIC_RELAXED);",
        "return false;",
    ),
    (
        "cuda_graphs.c",
        "&graphs->tails[bucket]",
        "&graphs->bodies[bucket]",
    ),
    (
        "cuda_graphs.c",
        "        blas->destroy(blas->handle);",
        "        ;",
    ),
    (
        "cuda_flight.c",
        "*is_given_up ? NULL : __atomic_load_n(graph, __ATOMIC_ACQUIRE)",
        "NULL",
    ),
    (
        "encoder_cuda.c",
        "    cuda_plan_close_mapped(&e->mapped_plan);\n",
        "",
    ),
    (
        "cuda_start.c",
        "properties.major < COMPUTE_CAPABILITY_MIN",
        "properties.major < 7",
    ),
    # the tune file
    (
        "cuda_trial.c",
        "ms < best_ms",
        "ms > best_ms",
    ),
    (
        "cuda_trial.c",
        "        if (!timed)\n            return i;\n",
        "",
    ),
    (
        "cuda_trial.c",
        "    if (ended != NULL)\n"
        "        cuda_check_logged(cudaEventDestroy(ended), \"an event's end\");\n",
        "",
    ),
    (
        "cuda_tune.c",
        "if (sum != checksum(image->bytes, image->size - sizeof sum))",
        "if (false)",
    ),
    (
        "cuda_tune.c",
        "memcmp(theirs->card, ours->card, sizeof ours->card) != 0",
        "false",
    ),
    (
        "cuda_tune.c",
        "if (theirs->field != ours->field)",
        "if (theirs->field < ours->field)",
    ),
    (
        "cuda_tune.c",
        "header.format != CUDA_TUNE_FORMAT",
        "header.format > CUDA_TUNE_FORMAT",
    ),
    (
        "cuda_tune.c",
        "size_bytes == size",
        "true",
    ),
    (
        "cuda_tune.c",
        "entry->n_rows != gemm->buckets->rows[bucket] || ",
        "",
    ),
    (
        "cuda_tune.c",
        "return cuda_gemm_accepts(context, gemm, operands, bucket);",
        "return true;",
    ),
    # Algorithms that cannot be captured
    (
        "cuda_choice.c",
        "if (cuda_gemm_can_be_captured(&e->gemm_context, gemm, &operands[i], bu"
        "cket,\n"
        "                                      &gemm->algorithms[bucket]))",
        "if (true)",
    ),
    (
        "cuda_choice.c",
        "        e->choice.has_changed = true;\n",
        "",
    ),
    (
        "cuda_trial.c",
        "!cuda_gemm_can_be_captured(&trial->context, trial->gemm, trial->of, bucket, algorithm)",
        "false",
    ),
    # fp8 and its calibration
    (
        "kernels/fp8.cuh",
        "floats_to_e4m3_pair(low * to.inverse_scale, high",
        "floats_to_e4m3_pair(low, high",
    ),
    (
        "kernels/fp8.cuh",
        "floats_to_e4m3_pair(value * to.inverse_scale, 0.0f)",
        "floats_to_e4m3_pair(0.0f, value * to.inverse_scale)",
    ),
    (
        "kernels/fp8.cuh",
        "four[0] * to.inverse_scale, four[1]",
        "four[1] * to.inverse_scale, four[0]",
    ),
    (
        "kernels/fp8.cuh",
        "                << 16;",
        "                << 8;",
    ),
    (
        "kernels/fp8.cuh",
        "values[j] < least ? least : values[j]",
        "values[j]",
    ),
    (
        "kernels/fp8.cuh",
        "values[j] < least ? least : values[j]",
        "fmaxf(values[j], least)",
    ),
    (
        "kernels/fp8.cuh",
        "to.codes = (uint8_t *)to.codes + first;",
        "{}",
    ),
    (
        "kernels/fp8.cuh",
        "    if (i >= n_vectors)\n        return;\n    load_vector",
        "    if (i > n_vectors)\n        return;\n    load_vector",
    ),
    (
        "kernels/fp8.cuh",
        "    if (!wants_codes(to))\n        return;\n",
        "",
    ),
    (
        "kernels/layernorm.cuh",
        "            store_codes(also, column, x[i]);\n",
        "",
    ),
    (
        "kernels/layernorm.cuh",
        "    also = codes_from(also, (size_t)row * hidden_dim);\n",
        "",
    ),
    (
        "kernels/embed.cuh",
        "            store_codes(also, lane_column(i), zeros);\n",
        "",
    ),
    (
        "kernels/embed.cuh",
        "    also = codes_from(also, (size_t)(first_row + warp) * hidden_dim);\n",
        "",
    ),
    (
        "kernels/gelu.cuh",
        "        store_codes(instead, i * VECTOR_ELEMENTS, values);\n    else",
        "        store_codes(instead, i * VECTOR_ELEMENTS, values);\n    if (true)",
    ),
    (
        "kernels/attention.cuh",
        "store_code_pair(instead, at, low, high)",
        "store_code_pair(instead, at, high, low)",
    ),
    (
        "kernels/attention.cuh",
        "codes = codes_from(instead, at)",
        "codes = instead",
    ),
    (
        "kernels/attention_rows.cuh",
        "store_code(instead, c * WARP_THREADS + lane, sums[c] / weight_sum)",
        "store_code(instead, c * WARP_THREADS + lane, sums[c])",
    ),
    (
        "kernels/record.cuh",
        "row >= header->n_tokens",
        "row > header->n_tokens",
    ),
    (
        "kernels/record.cuh",
        "    amax = warp_max(amax);\n",
        "",
    ),
    (
        "kernels/record.cuh",
        "fabsf(values[j])",
        "values[j]",
    ),
    (
        "kernels/record.cuh",
        "i < n_columns;",
        "i + VECTOR_ELEMENTS < n_columns;",
    ),
    (
        "cuda_forward.c",
        "codes_for(e, i + 1, MODEL_PRODUCT_QKV)",
        "codes_for(e, i, MODEL_PRODUCT_QKV)",
    ),
    (
        "cuda_forward.c",
        "1.0f / e->fp8->scales[layer][product].input",
        "1.0f / e->fp8->scales[0][product].input",
    ),
    (
        "cuda_forward.c",
        "device_scales[layer * MODEL_PRODUCT_COUNT + product]",
        "device_scales[layer * MODEL_PRODUCT_COUNT]",
    ),
    (
        "cuda_forward.c",
        "amax_bits + layer * MODEL_PRODUCT_COUNT + product,",
        "amax_bits + layer * MODEL_PRODUCT_COUNT,",
    ),
    (
        "cuda_forward.c",
        "operands.weight_scale = &scales->weight;",
        "operands.weight_scale = &scales->input;",
    ),
    (
        "cuda_forward.c",
        "quantize(codes, hidden, 0.0f,",
        "quantize(codes, hidden, -INFINITY,",
    ),
    (
        "cuda_forward.c",
        "        gemms[i].epilogue = CUBLASLT_EPILOGUE_BIAS;\n",
        "",
    ),
    (
        "cuda_weights.c",
        "fmaxf(*weight->scale, amax)",
        "amax",
    ),
    (
        "cuda_weights.c",
        "isnan(size) ? INFINITY : size",
        "size",
    ),
    (
        "cuda_weights.c",
        "scales != NULL && !is_last && i",
        "scales != NULL && i",
    ),
    (
        "cuda_gemm.c",
        "status == CUBLAS_STATUS_SUCCESS && gemm->x_type == CUDA_R_8F_E4M3",
        "false",
    ),
    (
        "cuda_fp8.c",
        "amax / CUDA_FP8_LARGEST",
        "amax / 240.0f",
    ),
    (
        "cuda_fp8.c",
        "CUDA_FP8_HEADROOM * calibration",
        "calibration",
    ),
    (
        "cuda_fp8.c",
        "!recording->begun || ",
        "",
    ),
    (
        "cuda_flight.c",
        "recording.n_texts += batch->n_sequences",
        "recording.n_texts += 1",
    ),
    (
        "cuda_start.c",
        "e->compute_capability < CUDA_FP8_COMPUTE_MIN",
        "false",
    ),
    (
        "cuda_forward.c",
        "encoder->recording.path == NULL &&",
        "",
    ),
    # Our GEMM in cuBLASLt's place
    (
        "cuda_gemm.c",
        "epilogue = GEMM_RESIDUAL;",
        "epilogue = GEMM_BIAS;",
    ),
    (
        "cuda_gemm.c",
        "epilogue = GEMM_RELU;",
        "epilogue = GEMM_BIAS;",
    ),
    (
        "cuda_graphs.c",
        "if (result == 0 && twin->gemm_context.own == NULL)",
        "if (result == 0)",
    ),
    (
        "encoder_cuda.c",
        "        e->config.ffn_dim % KERNEL_GEMM_OUT_MULTIPLE != 0) {",
        "        false) {",
    ),
    # those of a second reader, most of which had slipped through
    (
        "cuda_batch.c",
        "whole_lines((uint64_t)max_sequences + 1)",
        "whole_lines((uint64_t)max_sequences)",
    ),
    (
        "cuda_bucket.c",
        "while (rows < max_sequences)",
        "while (rows <= max_sequences)",
    ),
    (
        "cuda_bucket.c",
        "rows + rows / 2 < max_sequences",
        "rows + rows / 2 <= max_sequences",
    ),
    (
        "cuda_bucket.c",
        "if (rows >= 8 &&",
        "if (rows > 8 &&",
    ),
    (
        "cuda_bucket.c",
        "return rows < 8192 ? 256 : 1024;",
        "return 256;",
    ),
    (
        "cuda_flight.c",
        "(int32_t)(__atomic_load_n(signal, __ATOMIC_ACQUIRE) - number) >= 0",
        "__atomic_load_n(signal, __ATOMIC_ACQUIRE) >= number",
    ),
    (
        "cuda_flight.c",
        "        e->failed = true;\n"
        "        return result;",
        "        return result;",
    ),
    (
        "cuda_flight.c",
        "e->submitted_ns[(e->completed + 1) % BATCHES_IN_FLIGHT]",
        "e->submitted_ns[e->submitted % BATCHES_IN_FLIGHT]",
    ),
    (
        "cuda_flight.c",
        "return now_ns < e->next_query_ns ? 0 : ask_after(e, now_ns);",
        "return ask_after(e, now_ns);",
    ),
    (
        "cuda_flight.c",
        "    e->next_query_ns = now_ns + QUERY_AFTER_NS;\n"
        "    if (status",
        "    if (status",
    ),
    (
        "cuda_flight.c",
        "        log_error(\"%s\", error);\n"
        "    return result;",
        "        log_error(\"%s\", error);\n"
        "    return 0;",
    ),
    (
        "cuda_choice.c",
        "        .n_multiprocessors = (uint32_t)e->n_multiprocessors,\n",
        "",
    ),
    (
        "cuda_choice.c",
        "        .cublas_version = (uint32_t)e->gemm_context.blas.version,\n",
        "",
    ),
    (
        "cuda_choice.c",
        "        .n_layers = e->config.n_layers,\n",
        "",
    ),
    (
        "cuda_choice.c",
        "        .max_sequences = e->max_sequences,\n",
        "",
    ),
    (
        "cuda_choice.c",
        "        .activation = e->config.activation,\n",
        "",
    ),
    (
        "cuda_choice.c",
        "        .architecture = e->config.architecture,\n",
        "",
    ),
    (
        "cuda_choice.c",
        "e->fp8 != NULL ? CUDA_R_8F_E4M3 : e->gemm_context.element_type",
        "e->gemm_context.element_type",
    ),
    (
        "cuda_gemm.c",
        "const int8_t fast_accumulation = 0;",
        "const int8_t fast_accumulation = 1;",
    ),
    (
        "cuda_gemm.c",
        " &&\n"
        "           found.workspaceSize <= CUDA_GEMM_WORKSPACE_BYTES;",
        ";",
    ),
    (
        "cuda_trial.c",
        "result == 0 && equals_reference(&run, &reference)",
        "result == 0",
    ),
    (
        "cuda_trial.c",
        "const cublasLtMatmulAlgo_t reference = gemm->algorithms[last];",
        "const cublasLtMatmulAlgo_t reference = gemm->algorithms[bucket];",
    ),
    (
        "cuda_trial.c",
        "i < run->n_fetched; i++)\n        if (memcmp",
        "i < 1; i++)\n        if (memcmp",
    ),
    (
        "cuda_graphs.c",
        "        graphs->is_over = true;\n",
        "",
    ),
    (
        "cuda_weights.c",
        "        place += n_elements * bytes;\n",
        "",
    ),
    (
        "cuda_weights.c",
        "model_tensor_to_float32(tensor, row, n_rows, upload->staging);",
        "model_tensor_to_float32(tensor, 0, n_rows, upload->staging);",
    ),
    (
        "cuda_weights.c",
        "for (uint32_t row = 0; row < tensor->rows; row += chunk_rows) {\n"
        "        const uint32_t n_rows = (uint32_t)min_u64(chunk_rows, tensor->"
        "rows - row);\n"
        "        model_tensor_to_float32(tensor, row, n_rows, buffer);",
        "for (uint32_t row = 0; row < tensor->rows && row < chunk_rows; row += "
        "chunk_rows) {\n"
        "        const uint32_t n_rows = (uint32_t)min_u64(chunk_rows, tensor->"
        "rows - row);\n"
        "        model_tensor_to_float32(tensor, row, n_rows, buffer);",
    ),
    (
        "cuda_start.c",
        "        if (!isfinite(logits[i]))\n"
        "            result = -ERANGE;",
        "        if (0)\n"
        "            result = -ERANGE;",
    ),
    (
        "cuda_start.c",
        "align_up_u64((uint64_t)e->max_sequences * e->config.n_labels, 16)",
        "align_up_u64((uint64_t)e->max_sequences, 16)",
    ),
    (
        "cuda_start.c",
        "cuda_buckets_largest(&e->tokens) * bytes;",
        "e->max_tokens * bytes;",
    ),
    (
        "cuda_start.c",
        "cuda_batch_layout(e->max_tokens, e->max_sequences, cuda_buckets_larges"
        "t(&e->tokens))",
        "cuda_batch_layout(e->max_tokens, e->max_sequences, e->max_tokens)",
    ),
    (
        "cuda_start.c",
        "cls_rows * ffn, &a->cls_ffn",
        "cls_rows * hidden, &a->cls_ffn",
    ),
    (
        "encoder_cuda.c",
        "config->hidden_dim <= KERNEL_HIDDEN_DIM_MAX &&",
        "",
    ),
    (
        "encoder_cuda.c",
        " &&\n"
        "        head_dim <= KERNEL_HEAD_DIM_MAX)",
        ")",
    ),
    (
        "encoder_cuda.c",
        "        head_dim % DIM_MULTIPLE == 0 && config->hidden_dim",
        "        config->hidden_dim",
    ),
    (
        "encoder_cuda.c",
        "config->hidden_dim % multiple == 0 && ",
        "",
    ),
    (
        "cuda_forward.c",
        "           encoder->config.ffn_dim % KERNEL_GEMM_OUT_MULTIPLE == 0 &&\n",
        "",
    ),
    (
        "encoder_cuda.c",
        " && word[0] != 0 ? word : NULL",
        " ? word : NULL",
    ),
    (
        "encoder_cuda.c",
        "count >= MULTIPROCESSORS_OF_LARGE",
        "count > 132",
    ),
    (
        "encoder_cuda.c",
        "gemm->compute_type = CUBLAS_COMPUTE_32F_PEDANTIC;",
        "",
    ),
    (
        "encoder_cuda.c",
        "e->watchdog_ns = (uint64_t)ms * NS_PER_MS",
        "e->watchdog_ns = WATCHDOG_MS_DEFAULT * NS_PER_MS",
    ),
    (
        "kernels/head.cuh",
        "    __threadfence_system(); /* this thread's logits, before the block'"
        "s ticket */\n",
        "",
    ),
    (
        "kernels/convert.cuh",
        "if (isinf(element_to_float(out[i])) && !isinf(in[i]))",
        "if (isinf(element_to_float(out[i])))",
    ),
    (
        "kernels/attention_rows.cuh",
        "(head_dim) <= 32    ? LAUNCH(kernel<1>",
        "(head_dim) <= 40    ? LAUNCH(kernel<1>",
    ),
    (
        "kernels/attention_rows.cuh",
        "(head_dim) <= 64  ? LAUNCH(kernel<2>",
        "(head_dim) <= 72  ? LAUNCH(kernel<2>",
    ),
    (
        "kernels/attention_rows.cuh",
        "(head_dim) <= 128 ? LAUNCH(kernel<4>",
        "(head_dim) <= 136 ? LAUNCH(kernel<4>",
    ),
    (
        "kernels/attention.cuh",
        "block_row = work.first_row - warp * WORK_ROWS",
        "block_row = work.first_row",
    ),
    # Algorithms chosen beside the first answers
    (
        "cuda_bucket.c",
        "while (!cuda_bucket_is_ready(buckets, bucket))",
        "while (false)",
    ),
    (
        "cuda_choice.c",
        "    cuda_forward_operands(twin, operands);\n    for",
        "    cuda_forward_operands(twin, operands);\n"
        "    cuda_bucket_make_ready(buckets, bucket);\n"
        "    for",
    ),
    (
        "cuda_choice.c",
        "    if (result != 0)\n        return result;\n    for (uint32_t i = 0; twin != owner",
        "    for (uint32_t i = 0; twin != owner",
    ),
    (
        "cuda_choice.c",
        "owner->gemms[i].algorithms[bucket] = twin->gemms[i].algorithms[bucket]",
        "",
    ),
    (
        "cuda_choice.c",
        "if (!e->choice.has_reference[i]) {",
        "if (false) {",
    ),
    (
        "cuda_choice.c",
        "if (!cuda_gemm_can_be_captured(&e->gemm_context, gemm, &operands[i], n"
        "eeded[j],\n"
        "                                           &gemm->algorithms[needed[j]"
        "])) {",
        "if (false) {",
    ),
    (
        "cuda_choice.c",
        "n = timed ? buckets->count : 1;",
        "n = buckets->count;",
    ),
    (
        "cuda_choice.c",
        "saved = all_are_ready(&e->tokens) && all_are_ready(&e->sequences) && save(e);",
        "saved = save(e);",
    ),
    (
        "cuda_choice.c",
        "#define OWN_FFN_SHARE 0.95f",
        "#define OWN_FFN_SHARE 1.0f",
    ),
    (
        "cuda_choice.c",
        "if (e->choice.ffn_by_time && e->choice.own_ffn_is_fast)",
        "if (e->choice.ffn_by_time)",
    ),
    (
        "cuda_choice.c",
        "if (e->choice.ffn_by_time && e->choice.own_ffn_is_fast)",
        "if (e->choice.own_ffn_is_fast)",
    ),
    (
        "cuda_choice.c",
        "saved && cuda_tune_says_own_ffn(e->tune_path, &key, e->gemms, CUDA_GEMM_COUNT);",
        "e->choice.own_ffn_is_fast;",
    ),
    (
        "cuda_tune.c",
        "*own_ffn_is_fast = header_of(&image).own_ffn_is_fast != 0;",
        "*own_ffn_is_fast = false;",
    ),
    (
        "cuda_tune.c",
        "header.own_ffn_is_fast > 1",
        "false",
    ),
    (
        "cuda_trial.c",
        "windows[CUDA_TRIAL_WINDOWS] = {0, (run->n_rows - n) / 2, run->n_rows - n}",
        "windows[CUDA_TRIAL_WINDOWS] = {0, 0, 0}",
    ),
    (
        "cuda_trial.c",
        "run->y_row_bytes);\n    return equals_expected(run);",
        "run->y_row_bytes);\n    return true;",
    ),
    (
        "cuda_trial_inputs.c",
        "number ^ partner_sign",
        "number",
    ),
    (
        "cuda_trial.c",
        "!found && !run.failed && i",
        "!found && i",
    ),
    (
        "cuda_trial.c",
        "(status != CUBLAS_STATUS_SUCCESS && !refused)",
        "false",
    ),
    (
        "cuda_trial.c",
        ".operands = {trials->y,",
        ".operands = {trial->of->y,",
    ),
    (
        "cuda_trial.c",
        "succeeds(run, cudaStreamSynchronize(run->trial->context.stream)) && runs",
        "runs",
    ),
    (
        "cuda_graphs.c",
        "settle(graphs, tokens, bucket) && ",
        "",
    ),
    (
        "cuda_flight.c",
        "*is_given_up ? NULL : __atomic_load_n",
        "__atomic_load_n",
    ),
    (
        "cuda_flight.c",
        "return status != cudaSuccess && status != cudaErrorNotReady;",
        "return true;",
    ),
    (
        "cuda_flight.c",
        "return status != cudaSuccess && status != cudaErrorNotReady;",
        "return false;",
    ),
    (
        "cuda_flight.c",
        "    cudaGetLastError();\n    return status;",
        "    return status;",
    ),
    # Results that say of themselves that they are none
    (
        "cuda_gemm.c",
        "found.state == CUBLAS_STATUS_SUCCESS",
        "true",
    ),
    (
        "cuda_trial.c",
        "run->candidates[i].state == CUBLAS_STATUS_SUCCESS",
        "true",
    ),
    # Errors that a thread remembers
    (
        "cuda_choice.c",
        "    cudaGetLastError(); /* of a trial",
        "    /* of a trial",
    ),
    (
        "cuda_trial.c",
        "    if (!runs)\n        cudaGetLastError(); /* else",
        "    /* else",
    ),
    (
        "encoder_cuda.c",
        "        cudaGetLastError(); /* else the start",
        "        /* else the start",
    ),
    # Events that cannot be made, recorded, waited for or read
    (
        "cuda_trial.c",
        "&& cudaEventCreate(&ended) == cudaSuccess;",
        "&& (cudaEventCreate(&ended), true);",
    ),
    (
        "cuda_trial.c",
        "runs = cudaEventRecord(began, stream) == cudaSuccess;",
        "cudaEventRecord(began, stream);",
    ),
    (
        "cuda_trial.c",
        "cudaEventRecord(ended, stream) == cudaSuccess",
        "(cudaEventRecord(ended, stream), true)",
    ),
    (
        "cuda_trial.c",
        "cudaEventElapsedTime(milliseconds, began, ended) == cudaSuccess",
        "(cudaEventElapsedTime(milliseconds, began, ended), true)",
    ),
    # A trial's inputs
    (
        "cuda_trial_inputs.c",
        "sign_of(format), &state);",
        "sign_of(format), &(uint64_t){state});",
    ),
    (
        "cuda_trial.c",
        " && trials->tiles[i].in_dim == gemm->in_dim",
        "",
    ),
    (
        "cuda_trial.c",
        "trials->tiles[i].type == gemm->x_type && ",
        "",
    ),
    (
        "cuda_trial.c",
        ".operands = {trials->y, trials->x, trials->weight,",
        ".operands = {trials->y, trials->weight, trials->x,",
    ),
    # What a tune file and a calibration are written and read for
    (
        "cuda_choice.c",
        "twin->choice.loaded && twin->choice.has_changed &&",
        "twin->choice.loaded &&",
    ),
    (
        "cuda_choice.c",
        "    if (timed) {\n",
        "    if (wanted) {\n",
    ),
    (
        "cuda_choice.c",
        "needed[2] = {0, gemm->buckets->count - 1}",
        "needed[2] = {0, 0}",
    ),
    (
        "cuda_choice.c",
        "needed[2] = {0, gemm->buckets->count - 1}",
        "needed[2] = {gemm->buckets->count - 1, gemm->buckets->count - 1}",
    ),
    (
        "cuda_fp8.c",
        "amax > 0.0f ? amax / CUDA_FP8_LARGEST : 1.0f",
        "amax / CUDA_FP8_LARGEST",
    ),
    (
        "cuda_fp8.c",
        " || path[0] == 0",
        "",
    ),
    (
        "cuda_fp8.c",
        " || recording->n_texts == 0",
        "",
    ),
    (
        "cuda_fp8.c",
        "    recording->n_texts = 0;\n",
        "",
    ),
    (
        "encoder_cuda.c",
        "    if (!e->failed) /* a card",
        "    if (true) /* a card",
    ),
    # Captures that cannot begin or end, threads
    (
        "cuda_graphs.c",
        "    if (result != 0)\n        return result;\n    result = enqueue",
        "    result = enqueue",
    ),
    (
        "cuda_graphs.c",
        "return result != 0 ? result : end_result;",
        "return result;",
    ),
    (
        "cuda_gemm.c",
        "    if (ended == cudaSuccess) {\n        status =",
        "    {\n        status =",
    ),
    (
        "cuda_start.c",
        "    if (loader->begun)\n        pthread_join",
        "    if (loader->begun && result == 0)\n        pthread_join",
    ),
    (
        "cuda_start.c",
        "        result = begin_loading_blas(&loader, error);\n"
        "    if (result != 0)\n"
        "        return result;\n"
        "    result = open_device(e, error);",
        "        result = open_device(e, error);\n"
        "    if (result != 0)\n"
        "        return result;\n"
        "    result = begin_loading_blas(&loader, error);",
    ),
    # ---- a third reader's ----
    # Codes
    (
        "kernels/fp8.cuh",
        "high * to.inverse_scale);\n}\n\n__device__ __forceinline__ void store_code(",
        "high);\n}\n\n__device__ __forceinline__ void store_code(",
    ),
    (
        "kernels/fp8.cuh",
        "four[3] * to.inverse_scale",
        "four[2] * to.inverse_scale",
    ),
    (
        "kernels/fp8.cuh",
        "values + 4 * i;",
        "values + 2 * i;",
    ),
    (
        "kernels/fp8.cuh",
        "make_uint2(words[0], words[1])",
        "make_uint2(words[1], words[0])",
    ),
    (
        "kernels/fp8.cuh",
        "in + i * VECTOR_ELEMENTS + 4 * half",
        "in + i * VECTOR_ELEMENTS",
    ),
    (
        "kernels/fp8.cuh",
        "memcpy(values + 4 * half, &bits",
        "memcpy(values, &bits",
    ),
    (
        "kernels/fp8.cuh",
        "        return;\n#pragma unroll\n    for (int half",
        "        ;\n#pragma unroll\n    for (int half",
    ),
    (
        "kernels/fp8.cuh",
        "LAUNCH(quantize_kernel, dim3(ceil_div(n_vectors, QUANTIZE_THREADS))",
        "LAUNCH(quantize_kernel, dim3((uint32_t)(n_vectors / QUANTIZE_THREADS))",
    ),
    # GELU
    (
        "kernels/gelu.cuh",
        "0.3275911f * fabsf(x)",
        "0.3275911f * x",
    ),
    (
        "kernels/gelu.cuh",
        "1.061405429f",
        "1.061405429f * t",
    ),
    (
        "kernels/gelu.cuh",
        "0.5f * x * (1.0f + erf_approximate(x * sqrt_half))",
        "fmaxf(0.5f * x * (1.0f + erf_approximate(x * sqrt_half)), 0.0f)",
    ),
    (
        "kernels/gelu.cuh",
        "erf_approximate(x * sqrt_half)",
        "erf_approximate(x)",
    ),
    (
        "kernels/gelu.cuh",
        "grid(ceil_div(n_vectors, GELU_THREADS))",
        "grid((uint32_t)(n_vectors / GELU_THREADS))",
    ),
    # LayerNorm
    (
        "kernels/layernorm.cuh",
        "warp_sum(sum) / hidden_dim;",
        "warp_sum(sum) / (n_vectors * WARP_THREADS * VECTOR_ELEMENTS);",
    ),
    (
        "kernels/layernorm.cuh",
        "(i * WARP_THREADS + threadIdx.x % WARP_THREADS)",
        "(i * WARP_THREADS + threadIdx.x)",
    ),
    (
        "kernels/layernorm.cuh",
        "load_lane_vector(b, bias, i, hidden_dim);",
        "load_lane_vector(b, weight, i, hidden_dim);",
    ),
    (
        "kernels/layernorm.cuh",
        "squares += x[i][j] * x[i][j];",
        "squares += (x[i][j] + mean) * (x[i][j] + mean) - mean * mean;",
    ),
    (
        "kernels/layernorm.cuh",
        "(hidden_dim) <= 768  ? LAUNCH(kernel<3>",
        "(hidden_dim) <= 776  ? LAUNCH(kernel<3>",
    ),
    (
        "kernels/layernorm.cuh",
        "grid(ceil_div(n_rows, ROW_WARPS))",
        "grid(n_rows / ROW_WARPS)",
    ),
    # Embedding
    (
        "kernels/embed.cuh",
        "token.position, hidden_dim);",
        "token.position + 1u, hidden_dim);",
    ),
    (
        "kernels/embed.cuh",
        "tables.n_types, token.type,",
        "tables.n_types, token.type & 0u,",
    ),
    (
        "kernels/embed.cuh",
        "    if (blockIdx.x == gridDim.x - 1) {",
        "    if (blockIdx.x == 0) {",
    ),
    (
        "kernels/embed.cuh",
        "sizeof(struct batch_header) / sizeof(uint32_t)",
        "4",
    ),
    (
        "kernels/embed.cuh",
        "            store_vector(y + lane_column(i), zeros);\n",
        "",
    ),
    (
        "kernels/embed.cuh",
        "(const element *)norm.weight, (const element *)norm.bias,",
        "(const element *)norm.bias, (const element *)norm.weight,",
    ),
    # The record of a calibration
    (
        "kernels/record.cuh",
        "        atomicMax(amax_bits, bits);",
        "        *amax_bits = bits;",
    ),
    (
        "kernels/record.cuh",
        "i += WARP_THREADS * VECTOR_ELEMENTS",
        "i += 2 * WARP_THREADS * VECTOR_ELEMENTS",
    ),
    (
        "kernels/record.cuh",
        "x += (size_t)row * n_columns;",
        "x += (size_t)row * VECTOR_ELEMENTS;",
    ),
    (
        "kernels/record.cuh",
        "blockIdx.x * RECORD_WARPS + threadIdx.x / WARP_THREADS",
        "blockIdx.x * RECORD_WARPS",
    ),
    # Our GEMM: fragments, stages, tails, epilogues
    (
        "kernels/gemm.cuh",
        "const bool live = first_row + row < n_rows;",
        "const bool live = first_row + row <= n_rows;",
    ),
    (
        "kernels/gemm.cuh",
        "2 * k + lane / 8 % 2));",
        "2 * k + lane / 16));",
    ),
    (
        "kernels/gemm.cuh",
        "lane % 16, 2 * k + lane / 16));",
        "lane % 16, 2 * k + lane / 8 % 2));",
    ),
    (
        "kernels/gemm.cuh",
        "(load - (GEMM_STAGES - 1)) % GEMM_STAGES",
        "(load - (GEMM_STAGES - 2)) % GEMM_STAGES",
    ),
    (
        "kernels/gemm.cuh",
        "load < n_steps + GEMM_STAGES - 1;",
        "load < n_steps + GEMM_STAGES - 2;",
    ),
    (
        "kernels/gemm.cuh",
        "in_dim, load);\n        }\n        copy_async_commit();",
        "in_dim, load);\n            copy_async_commit();\n        }",
    ),
    (
        "kernels/gemm.cuh",
        "warp_row = warp / 2 * 32,",
        "warp_row = warp % 2 * 32,",
    ),
    (
        "kernels/gemm.cuh",
        "half * 8 + lane / 4;",
        "half + lane / 4 * 2;",
    ),
    (
        "kernels/gemm.cuh",
        "first_row = blockIdx.y * GEMM_TILE, first_column = blockIdx.x",
        "first_row = blockIdx.x * GEMM_TILE, first_column = blockIdx.y",
    ),
    (
        "kernels/gemm.cuh",
        "    if (EPILOGUE == GEMM_RESIDUAL) {",
        "    if (EPILOGUE == GEMM_RESIDUAL || EPILOGUE == GEMM_BIAS) {",
    ),
    (
        "kernels/gemm.cuh",
        "        low = gelu_exact(low);\n",
        "        low = fmaxf(low, 0.0f);\n",
    ),
    (
        "kernels/gemm.cuh",
        "step * GEMM_TILE_K + chunk",
        "(step & 1) * GEMM_TILE_K + chunk",
    ),
    # Attention: rows, and the variants for short texts
    (
        "kernels/attention_rows.cuh",
        "rescale = exp2f(max - new_max)",
        "rescale = exp2f(new_max - max)",
    ),
    (
        "kernels/attention_rows.cuh",
        "sums[columns_a_lane] = {}, max = MASKED_SCORE,",
        "sums[columns_a_lane] = {}, max = 0.0f,",
    ),
    (
        "kernels/attention_rows.cuh",
        "first_key + min(lane, n_keys - 1);",
        "first_key + lane;",
    ),
    (
        "kernels/attention_rows.cuh",
        "while (high - low > 1)",
        "while (high - low > 2)",
    ),
    (
        "kernels/attention_rows.cuh",
        "in + (size_t)(token - first) * stride, a,",
        "in, a,",
    ),
    (
        "kernels/attention_rows.cuh",
        "        in, in + hidden_dim, stride,",
        "        in + hidden_dim, in, stride,",
    ),
    (
        "kernels/attention_rows.cuh",
        "value[min(c * WARP_THREADS + lane, a.head_dim - 1)]",
        "value[c * WARP_THREADS + lane]",
    ),
    (
        "kernels/attention.cuh",
        "(values, qkv + 2 * hidden_dim, stride, 0,",
        "(values, qkv + 2 * hidden_dim, stride, work.first_row,",
    ),
    (
        "kernels/attention.cuh",
        "shared + warp * narrow_elements",
        "shared",
    ),
    (
        "kernels/attention.cuh",
        "*values = keys + WORK_NARROW_LENGTH * head_dim;",
        "*values = keys + WORK_ROWS * head_dim;",
    ),
    (
        "kernels/attention.cuh",
        "begin_rows<head_dim>(rows, query, 0, lane);",
        "begin_rows<head_dim>(rows, query, work.first_row, lane);",
    ),
    (
        "kernels/attention.cuh",
        "rows.max[half] = MASKED_SCORE;",
        "rows.max[half] = 0.0f;",
    ),
    (
        "kernels/attention.cuh",
        "exp2f(scores[j][i] - max[i / 2])",
        "exp2f(scores[j][i] - max[i % 2])",
    ),
    (
        "kernels/attention.cuh",
        "block < header->n_wide_blocks)",
        "block <= header->n_wide_blocks)",
    ),
    (
        "kernels/attention_launch.cuh",
        "if (head_dim == 32)",
        "if (head_dim <= 32)",
    ),
    (
        "kernels/attention_launch.cuh",
        "grid(ceil_div(n_sequence_rows, ATTENTION_ROWS_WARPS), n_heads)",
        "grid(n_sequence_rows / ATTENTION_ROWS_WARPS, n_heads)",
    ),
    # Other kernels
    (
        "kernels/element.cuh",
        "floats_to_bits(in[4], in[5])",
        "floats_to_bits(in[5], in[4])",
    ),
    (
        "kernels/head.cuh",
        "sequence = i / n_labels, label = i % n_labels",
        "sequence = i % header->n_sequences, label = i / header->n_sequences",
    ),
    # More of what only nvcc sees
    (
        "kernels/portable.cuh",
        "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16",
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16",
    ),
    (
        "kernels/portable.cuh",
        "x4.shared.b16 {%0,%1,%2,%3}",
        "x4.shared.b16 {%0,%2,%1,%3}",
    ),
    (
        "kernels/portable.cuh",
        "{%4,%5,%6,%7}, {%8,%9}",
        "{%4,%6,%5,%7}, {%8,%9}",
    ),
    (
        "kernels/portable.cuh",
        "{%8,%9}, {%0,%1,%2,%3};",
        "{%9,%8}, {%0,%1,%2,%3};",
    ),
    (
        "kernels/portable.cuh",
        "\"n\"(pending)",
        "\"n\"(pending + 1)",
    ),
    (
        "kernels/portable.cuh",
        "\"f\"(high), \"f\"(low)",
        "\"f\"(low), \"f\"(high)",
    ),
    (
        "kernels/portable.cuh",
        "asm volatile(\"cp.async.commit_group;\" ::: \"memory\");",
        "",
    ),
    # Host files that had few
    (
        "cuda_blas.c",
        "driver_version >= DRIVER_OF_CUDA_13 ? 0 : 2",
        "0",
    ),
    (
        "cuda_blas.c",
        "driver_version >= DRIVER_OF_CUDA_13 ? 0 : 2",
        "2",
    ),
    (
        "cuda_memory.c",
        "return cuda_check(cudaMemset(plan->memory, 0, plan->total_bytes), "
        "\"clearing memory\", error);",
        "return 0;",
    ),
    (
        "cuda_memory.c",
        "    memset(plan->memory, 0, plan->total_bytes);\n",
        "",
    ),
    (
        "cuda_memory.c",
        "        cuda_check_logged(cudaFreeHost(plan->memory), \"cudaFreeHost\");",
        "        ;",
    ),
    (
        "cuda_batch.c",
        "sizeof(uint32_t) * (batch->n_sequences + 1));",
        "sizeof(uint32_t) * batch->n_sequences);",
    ),
    (
        "cuda_batch.c",
        "    while (n_words % WORK_WORDS_A_BLOCK != 0)\n        work[n_words++] = WORK_NONE;\n",
        "",
    ),
    (
        "cuda_batch.c",
        "row = batch->n_tokens; row < n_rows;",
        "row = batch->n_tokens; row + 1 < n_rows;",
    ),
    (
        "cuda_batch.c",
        "header.n_wide_blocks = n_wide_words / WORK_WORDS_A_BLOCK;",
        "header.n_wide_blocks = n_wide_words / WORK_WORDS_A_BLOCK + 1;",
    ),
    (
        "cuda_weights.c",
        "weight->part * tensor_elements(tensor) * bytes",
        "weight->part * tensor_elements(tensor)",
    ),
    (
        "cuda_weights.c",
        "        if (weight->part + 1 == weight->n_parts)\n            *weight->scale",
        "        *weight->scale",
    ),
    (
        "cuda_tune.c",
        "#define FILE_MODE 0600",
        "#define FILE_MODE 0644",
    ),
    (
        "cuda_tune.c",
        "memcmp(header.magic, CUDA_TUNE_MAGIC, sizeof header.magic) != 0",
        "false",
    ),
    (
        "cuda_tune.c",
        "header.n_entries != n_entries",
        "false",
    ),
    (
        "cuda_fp8.c",
        "        result = cuda_check(cudaStreamSynchronize(stream), \"the end of "
        "a calibration\", error);",
        "        result = 0;",
    ),
    (
        "cuda_fp8.c",
        "CUDA_FP8_SCALE_BYTES(n_layers)",
        "CUDA_FP8_SCALE_BYTES(1)",
    ),
    (
        "cuda_gemm.c",
        "CUDA_GEMM_WORKSPACE_BYTES, context->stream);",
        "0, context->stream);",
    ),
    (
        "cuda_gemm.c",
        "CUDA_GEMM_WORKSPACE_BYTES, context->stream);",
        "CUDA_GEMM_WORKSPACE_BYTES, NULL);",
    ),
    (
        "cuda_gemm.c",
        "gemm->y_type, gemm->out_dim, n_rows, gemm->out_dim)",
        "gemm->y_type, gemm->out_dim, n_rows, gemm->in_dim)",
    ),
    (
        "cuda_trial.c",
        "    trial.context.workspace = trials->workspace;\n",
        "",
    ),
    (
        "cuda_trial.c",
        "    if (runs && trial->gemm->beta != 0.0f)",
        "    if (false)",
    ),
    (
        "cuda_forward.c",
        "e->config.activation == MODEL_GELU && !e->own_ffn",
        "e->config.activation == MODEL_GELU",
    ),
    (
        "cuda_forward.c",
        "    gemms[CUDA_GEMM_pooler].y_type = CUDA_R_32F;\n",
        "",
    ),
    (
        "cuda_forward.c",
        "queue->n_rows, e->gemms[index].in_dim, e->stream)",
        "queue->n_rows, e->gemms[index].out_dim, e->stream)",
    ),
    (
        "cuda_graphs.c",
        "    if (n_left > 0)\n        log_error",
        "    if (n_made > 0)\n        log_error",
    ),
    (
        "encoder_cuda.c",
        "version / 10000, version / 100 % 100",
        "version / 1000, version / 100 % 10",
    ),
    (
        "encoder_cuda.c",
        "ms < 1 || ms > WATCHDOG_MS_MAX",
        "ms < 0 || ms > WATCHDOG_MS_MAX",
    ),
    (
        "encoder_cuda.c",
        "*end != 0 || ",
        "",
    ),
    (
        "encoder_cuda.c",
        "    if (strcmp(word, \"own\") != 0)\n        return refuse_word",
        "    if (false)\n        return refuse_word",
    ),
    (
        "cuda_start.c",
        "properties.multiProcessorCount;",
        "1;",
    ),
]
