# The tokenizer by itself: tests, the frontend and the benchmark link it.
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

add_library(weir_tokenizer STATIC
    tokenizer.c
    tokenizer_added.c
    tokenizer_cache.c
    tokenizer_chunks.c
    tokenizer_encode.c
    tokenizer_explain.c
    tokenizer_normalizer.c
    tokenizer_trie.c
    tokenizer_unicode.c
    tokenizer_words.c)
target_link_libraries(weir_tokenizer PUBLIC weir_models weir_base PRIVATE PkgConfig::UTF8PROC)
