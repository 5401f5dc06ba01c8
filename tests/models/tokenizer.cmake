# The reader of tokenizer files.
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
weir_test(NAME test_tokenizer_files SOURCES test_tokenizer_files.c ${WEIR_TINY_FOLDER}
          LIBRARIES weir_models PkgConfig::JANSSON)
target_link_options(test_tokenizer_files PRIVATE -Wl,--wrap=malloc -Wl,--wrap=calloc
                                                 -Wl,--wrap=free)
