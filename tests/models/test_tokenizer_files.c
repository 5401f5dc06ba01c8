/* Tokenizer folders: what is read from good ones, the sentence for each bad one, traps of
 * vocab.txt, damage at every byte, and memory that runs short. */
#include "models/tokenizer_files.h"

#include "tests/models/tiny_folder.h"
#include "tests/test.h"

#include <errno.h>
#include <sys/stat.h>

#define VOCAB "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\n##s\n"

/* A whole tokenizer.json; each part may be replaced. */
#define MODEL                                                                                      \
    "{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\","        \
    "\"max_input_chars_per_word\":100,\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3," \
    "\"[MASK]\":4,\"hello\":5,\"##s\":6}}"
#define NORMALIZER                                                                    \
    "{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true," \
    "\"strip_accents\":null,\"lowercase\":false}"
#define PRE_TOKENIZER "{\"type\":\"BertPreTokenizer\"}"

#define SPECIAL(name, type_id)  "{\"SpecialToken\":{\"id\":\"" name "\",\"type_id\":" type_id "}}"
#define SEQUENCE(name, type_id) "{\"Sequence\":{\"id\":\"" name "\",\"type_id\":" type_id "}}"
#define CLS                     SPECIAL("[CLS]", "0")
#define SEP_A                   SPECIAL("[SEP]", "0")
#define SINGLE                  CLS "," SEQUENCE("A", "0") "," SEP_A
#define PAIR                    SINGLE "," SEQUENCE("B", "1") "," SPECIAL("[SEP]", "1")
#define IDS                                                             \
    "{\"[CLS]\":{\"id\":\"[CLS]\",\"ids\":[2],\"tokens\":[\"[CLS]\"]}," \
    "\"[SEP]\":{\"id\":\"[SEP]\",\"ids\":[3],\"tokens\":[\"[SEP]\"]}}"
#define TEMPLATE(single, pair, ids)                                                 \
    "{\"type\":\"TemplateProcessing\",\"single\":[" single "],\"pair\":[" pair "]," \
    "\"special_tokens\":" ids "}"
#define POST_PROCESSOR       TEMPLATE(SINGLE, PAIR, IDS)
#define ADDED(content, rest) "{\"id\":0,\"content\":\"" content "\"" rest "}"

struct parts {
    const char *model, *normalizer, *pre_tokenizer, *post_processor, *added_tokens;
    const char *truncation; /* its direction */
};

/* Everything of the folder; NULL leaves a file out. */
struct folder {
    const char *vocabulary, *json, *config, *specials, *added, *model;
};

static void write_file(const char *folder, const char *name, const char *text)
{
    if (text)
        tiny_folder_write(folder, name, text, strlen(text));
}

static int open_folder(struct tokenizer_files *files, const struct folder *contents,
                       char error[ERROR_BYTES])
{
    char folder[TINY_PATH_BYTES];
    tiny_folder_create(folder);
    write_file(folder, "vocab.txt", contents->vocabulary);
    write_file(folder, "tokenizer.json", contents->json);
    write_file(folder, "tokenizer_config.json", contents->config);
    write_file(folder, "special_tokens_map.json", contents->specials);
    write_file(folder, "added_tokens.json", contents->added);
    write_file(folder, "config.json", contents->model);
    int result = tokenizer_files_open(files, folder, error);
    tiny_folder_remove(folder);
    return result;
}

static const char *json_of(const struct parts *parts)
{
    static char text[8192], truncation[128];
    if (parts->truncation)
        snprintf(
            truncation, sizeof(truncation),
            "{\"direction\":\"%s\",\"max_length\":5,\"strategy\":\"LongestFirst\",\"stride\":0}",
            parts->truncation);
    snprintf(text, sizeof(text),
             "{\"version\":\"1.0\",\"truncation\":%s,\"added_tokens\":%s,\"normalizer\":%s,"
             "\"pre_tokenizer\":%s,\"post_processor\":%s,\"model\":%s}",
             parts->truncation ? truncation : "null",
             parts->added_tokens ? parts->added_tokens : "[]",
             parts->normalizer ? parts->normalizer : NORMALIZER,
             parts->pre_tokenizer ? parts->pre_tokenizer : PRE_TOKENIZER,
             parts->post_processor ? parts->post_processor : POST_PROCESSOR,
             parts->model ? parts->model : MODEL);
    return text;
}

static void expect_opened(struct tokenizer_files *files, const struct folder *contents)
{
    char error[ERROR_BYTES] = "";
    int result = open_folder(files, contents, error);
    if (result != 0)
        fprintf(stderr, "refused: %s\n", error);
    EXPECT_EQUAL(result, 0);
}

static void expect_refused(const struct folder *contents, const char *part)
{
    struct tokenizer_files files;
    char error[ERROR_BYTES] = "";
    EXPECT(open_folder(&files, contents, error) < 0);
    if (!strstr(error, part))
        fprintf(stderr, "\"%s\" does not say \"%s\"\n", error, part);
    EXPECT(strstr(error, part));
    EXPECT(!files.arena && !files.vocabulary && !files.added_tokens);
}

static void expect_json_refused(struct parts parts, const char *part)
{
    expect_refused(&(struct folder){.json = json_of(&parts)}, part);
}

static void expect_json_opened(struct tokenizer_files *files, struct parts parts)
{
    expect_opened(files, &(struct folder){.json = json_of(&parts)});
}

static bool is(struct tokenizer_string string, const char *text)
{
    return string.size == strlen(text) &&
           (string.size == 0 || memcmp(string.bytes, text, string.size) == 0);
}

static const struct tokenizer_added_token *added(const struct tokenizer_files *files,
                                                 const char *content)
{
    for (uint32_t i = 0; i < files->n_added_tokens; i++)
        if (is(files->added_tokens[i].content, content))
            return &files->added_tokens[i];
    return NULL;
}

/* --- vocab.txt --- */

static void vocab_txt_alone_is_uncased_bert(void)
{
    struct tokenizer_files files;
    expect_opened(&files, &(struct folder){.vocabulary = VOCAB});
    EXPECT_EQUAL(files.vocab_size, 7);
    EXPECT_EQUAL(files.ids_end, 7);
    EXPECT(files.clean_text && files.handle_chinese_chars);
    EXPECT(files.strip_accents && files.lowercase);
    EXPECT(!files.truncate_left && !files.whole_counts);
    EXPECT_EQUAL(files.max_chars_per_word, 100);
    EXPECT(is(files.continuation, "##"));
    EXPECT_EQUAL(files.unk_id, 1);
    EXPECT_EQUAL(files.cls_id, 2);
    EXPECT_EQUAL(files.sep_id, 3);
    EXPECT_EQUAL(files.pad_id, 0);
    EXPECT_EQUAL(files.mask_id, 4);
    EXPECT_EQUAL(files.model_max_length, UINT32_MAX);
    EXPECT_EQUAL(files.n_added_tokens, 5);
    EXPECT(added(&files, "[SEP]")->special && !added(&files, "[SEP]")->normalized);
    tokenizer_files_close(&files);
    tokenizer_files_close(&files); /* a closed one may be closed again */
}

static void only_newlines_end_lines_and_white_space_ends_none(void)
{
    struct tokenizer_files files;
    expect_opened(&files, &(struct folder){.vocabulary = "[UNK]\r\n[CLS]\n[SEP] \t\n\u2028\n"
                                                         "a\u2028b\n\xC2\x85"
                                                         "x\u3000\n\n a"});
    static const char *const expected[] = {"[UNK]",    "[CLS]",     "[SEP]", "",
                                           "a\u2028b", "\xC2\x85x", "",      " a"};
    EXPECT_EQUAL(files.vocab_size, ARRAY_COUNT(expected));
    for (uint32_t i = 0; i < files.vocab_size; i++)
        EXPECT(is(files.vocabulary[i], expected[i]));
    EXPECT_EQUAL(files.pad_id, TOKENIZER_NO_ID);
    EXPECT_EQUAL(files.mask_id, TOKENIZER_NO_ID);
    tokenizer_files_close(&files);
}

static void of_equal_lines_the_last_counts(void)
{
    struct tokenizer_files files;
    expect_opened(&files, &(struct folder){.vocabulary = "[UNK]\n[CLS]\n[SEP]\nx\ny\nx\n[SEP]\n"});
    EXPECT_EQUAL(files.sep_id, 6);
    EXPECT_EQUAL(files.vocabulary[2].size, 0);
    EXPECT_EQUAL(files.vocabulary[3].size, 0);
    EXPECT(is(files.vocabulary[5], "x"));
    tokenizer_files_close(&files);
}

static void bad_vocabularies_are_refused(void)
{
    char text[TOKENIZER_TOKEN_BYTES_MAX + 64];
    expect_refused(&(struct folder){.config = "{}"}, "has neither tokenizer.json nor vocab.txt");
    expect_refused(&(struct folder){.vocabulary = ""}, "\"[UNK]\" is not in the vocabulary");
    expect_refused(&(struct folder){.vocabulary = "[UNK]\n[CLS]\n"},
                   "vocab.txt: the token \"[SEP]\" is not in the vocabulary");
    expect_refused(&(struct folder){.vocabulary = VOCAB "\xFF\n"}, "line 8 is not UTF-8");
    expect_refused(&(struct folder){.vocabulary = VOCAB "\xED\xA0\x80"}, "line 8 is not UTF-8");
    for (int more = 0; more < 2; more++) { /* at the limit, and one byte beyond */
        struct tokenizer_files files;
        char *end = stpcpy(text, VOCAB);
        memset(end, 'x', TOKENIZER_TOKEN_BYTES_MAX + (size_t)more);
        end[TOKENIZER_TOKEN_BYTES_MAX + more] = '\0';
        if (more)
            expect_refused(&(struct folder){.vocabulary = text}, "token 7 has 1025 bytes");
        else
            expect_opened(&files, &(struct folder){.vocabulary = text});
        if (!more)
            tokenizer_files_close(&files);
    }
}

/* --- tokenizer_config.json and its companions --- */

static void the_configuration_sets_options_and_limits(void)
{
    struct tokenizer_files files;
    expect_opened(
        &files, &(struct folder){VOCAB, .config = "{\"do_lower_case\":false,"
                                                  "\"tokenize_chinese_chars\":false,"
                                                  "\"model_max_length\":512,"
                                                  "\"truncation_side\":\"left\","
                                                  "\"tokenizer_class\":\"DistilBertTokenizer\"}"});
    EXPECT(!files.lowercase && !files.strip_accents && !files.handle_chinese_chars);
    EXPECT(files.truncate_left);
    EXPECT_EQUAL(files.model_max_length, 512);
    tokenizer_files_close(&files);
    expect_opened(&files, &(struct folder){VOCAB, .config = "{\"strip_accents\":false}"});
    EXPECT(files.lowercase && !files.strip_accents);
    tokenizer_files_close(&files);
    expect_opened(&files, &(struct folder){VOCAB, .config = "{\"do_lower_case\":false,"
                                                            "\"strip_accents\":true}"});
    EXPECT(!files.lowercase && files.strip_accents);
    tokenizer_files_close(&files);
}

/* What a BERT gets of a pair depends on its tokenizer: DistilBERT's names no token types. */
static void the_class_and_model_input_names_decide_about_token_types(void)
{
    static const struct {
        const char *model, *config;
        bool one_type;
    } cases[] = {
        {"{\"model_type\":\"bert\"}", NULL, false},
        {"{\"model_type\":\"distilbert\"}", NULL, true},
        {"{\"model_type\":\"distilbert\"}", "{}", true},
        {"{\"model_type\":\"bert\",\"tokenizer_class\":\"DistilBertTokenizer\"}", "{}", true},
        {"{\"model_type\":\"distilbert\"}", "{\"tokenizer_class\":\"BertTokenizer\"}", false},
        {NULL, NULL, false},
        {NULL, "{}", false},
        {NULL, "{\"tokenizer_class\":\"BertTokenizer\"}", false},
        {NULL, "{\"tokenizer_class\":\"ElectraTokenizerFast\"}", false},
        {NULL, "{\"tokenizer_class\":\"DistilBertTokenizer\"}", true},
        {NULL, "{\"tokenizer_class\":\"DistilBertTokenizerFast\"}", true},
        {NULL, "{\"tokenizer_class\":\"RetriBertTokenizer\"}", true},
        {NULL, "{\"model_input_names\":[\"input_ids\",\"attention_mask\"]}", true},
        {NULL, "{\"model_input_names\":[]}", true},
        {NULL, "{\"model_input_names\":null}", false},
        {NULL,
         "{\"tokenizer_class\":\"DistilBertTokenizer\","
         "\"model_input_names\":[\"input_ids\",\"token_type_ids\"]}",
         false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct tokenizer_files files;
        expect_opened(&files,
                      &(struct folder){VOCAB, .config = cases[i].config, .model = cases[i].model});
        EXPECT_EQUAL(files.one_token_type, cases[i].one_type);
        tokenizer_files_close(&files);
    }
}

static void an_old_file_calls_the_limit_max_len(void)
{
    struct tokenizer_files files;
    expect_opened(&files, &(struct folder){VOCAB, .config = "{\"max_len\":64}"});
    EXPECT_EQUAL(files.model_max_length, 64);
    tokenizer_files_close(&files);
    expect_opened(&files, &(struct folder){VOCAB, .config = "{\"model_max_length\":32,"
                                                            "\"max_len\":64}"});
    EXPECT_EQUAL(files.model_max_length, 32);
    tokenizer_files_close(&files);
}

static void no_limit_at_all_is_written_as_a_huge_number(void)
{
    static const char *const configs[] = {
        "{\"model_max_length\":1000000000000000019884624838656}", "{\"model_max_length\":1e30}",
        "{\"model_max_length\":null}", "{\"model_max_length\":4294967295}", "{}"};
    for (size_t i = 0; i < ARRAY_COUNT(configs); i++) {
        struct tokenizer_files files;
        expect_opened(&files, &(struct folder){VOCAB, .config = configs[i]});
        EXPECT_EQUAL(files.model_max_length, UINT32_MAX);
        tokenizer_files_close(&files);
    }
}

static void special_tokens_may_have_other_names(void)
{
    struct tokenizer_files files;
    expect_opened(
        &files, &(struct folder){"<s>\n</s>\n<unk>\n<pad>\nx\n",
                                 .config = "{\"cls_token\":\"<s>\",\"pad_token\":\"<pad>\","
                                           "\"unk_token\":{\"content\":\"<unk>\",\"lstrip\":true}}",
                                 .specials = "{\"sep_token\":{\"content\":\"</s>\"}}"});
    EXPECT_EQUAL(files.cls_id, 0);
    EXPECT_EQUAL(files.sep_id, 1);
    EXPECT_EQUAL(files.unk_id, 2);
    EXPECT_EQUAL(files.pad_id, 3);
    EXPECT_EQUAL(files.mask_id, TOKENIZER_NO_ID);
    EXPECT_EQUAL(files.n_added_tokens, 4);
    EXPECT(added(&files, "<unk>")->lstrip && added(&files, "<unk>")->special);
    tokenizer_files_close(&files);
}

static void added_tokens_get_the_ids_of_the_reference(void)
{
    struct tokenizer_files files;
    expect_opened(&files, &(struct folder){VOCAB, .added = "{\"new2\":8,\"new1\":7,\"hello\":99}"});
    EXPECT_EQUAL(added(&files, "new1")->id, 7);
    EXPECT_EQUAL(added(&files, "new2")->id, 8);
    EXPECT_EQUAL(added(&files, "hello")->id, 5); /* the vocabulary knows better */
    EXPECT(added(&files, "new1")->normalized && !added(&files, "new1")->special);
    EXPECT_EQUAL(files.ids_end, 9);
    tokenizer_files_close(&files);

    expect_opened(&files,
                  &(struct folder){
                      VOCAB,
                      .config = "{\"added_tokens_decoder\":{\"30\":{\"content\":\"<b>\","
                                "\"special\":false,\"normalized\":true,\"single_word\":true,"
                                "\"lstrip\":false,\"rstrip\":true},\"4\":{\"content\":\"[MASK]\","
                                "\"special\":true,\"normalized\":false,\"lstrip\":true}},"
                                "\"extra_special_tokens\":[\"<c>\"]}",
                      .added = "{\"ignored\":7}"});
    EXPECT_EQUAL(added(&files, "<b>")->id, 7);
    EXPECT(added(&files, "<b>")->single_word && added(&files, "<b>")->rstrip);
    EXPECT(added(&files, "[MASK]")->lstrip && added(&files, "[MASK]")->special);
    EXPECT_EQUAL(added(&files, "<c>")->id, 8);
    EXPECT(!added(&files, "ignored"));
    tokenizer_files_close(&files);
}

static void bad_configurations_are_refused(void)
{
    static const char *const cases[][2] = {
        {"[]", "tokenizer_config.json: must be a JSON object"},
        {"{", "tokenizer_config.json: not JSON"},
        {"{\"do_lower_case\":\"yes\"}", "\"do_lower_case\" must be true or false"},
        {"{\"strip_accents\":1}", "\"strip_accents\" must be true or false"},
        {"{\"model_input_names\":\"input_ids\"}", "\"model_input_names\" must be a list"},
        {"{\"model_max_length\":0}", "\"model_max_length\" must be a number of at least 1"},
        {"{\"model_max_length\":\"512\"}", "\"model_max_length\" must be a number of at least 1"},
        {"{\"truncation_side\":\"middle\"}", "\"truncation_side\" must be left or right"},
        {"{\"split_special_tokens\":1}", "\"split_special_tokens\" must be true or false"},
        {"{\"tokenizer_class\":\"RobertaTokenizer\"}", "tokenizer_class is RobertaTokenizer"},
        {"{\"tokenizer_class\":\"PreTrainedTokenizerFast\"}", "PreTrainedTokenizerFast"},
        {"{\"cls_token\":7}", "an added token must be a string or an object"},
        {"{\"cls_token\":\"<s>\"}", "the token \"<s>\" is not in the vocabulary"},
        {"{\"added_tokens_decoder\":[]}", "\"added_tokens_decoder\" must be an object"},
        {"{\"added_tokens_decoder\":{\"x\":{\"content\":\"y\"}}}", "must map ids below 1000000"},
        {"{\"added_tokens_decoder\":{\"1000000\":{\"content\":\"y\"}}}", "must map ids below"},
        {"{\"added_tokens_decoder\":{\"7\":{}}}", "an added token must be a string or an object"},
        {"{\"added_tokens_decoder\":{\"7\":{\"content\":\"y\",\"lstrip\":0}}}",
         "\"lstrip\" of added token \"y\" must be true or false"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        expect_refused(&(struct folder){VOCAB, .config = cases[i][0]}, cases[i][1]);
    expect_refused(&(struct folder){VOCAB, .model = "{\"tokenizer_class\":\"RobertaTokenizer\"}"},
                   "config.json: tokenizer_class is RobertaTokenizer");
    expect_refused(&(struct folder){VOCAB, .specials = "nonsense"}, "special_tokens_map.json: not");
    expect_refused(&(struct folder){VOCAB, .added = "{\"a\":1e9}"}, "added_tokens.json: must map");
    expect_refused(&(struct folder){VOCAB, .added = "{\"a\":\"1\"}"},
                   "added_tokens.json: must map");
}

/* --- tokenizer.json --- */

static void tokenizer_json_is_read(void)
{
    struct tokenizer_files files;
    expect_json_opened(
        &files, (struct parts){.added_tokens = "[" ADDED("[SEP]", ",\"special\":true") "," ADDED(
                                   "n", ",\"normalized\":false,\"rstrip\":true") "]"});
    EXPECT_EQUAL(files.vocab_size, 7);
    EXPECT(is(files.vocabulary[6], "##s"));
    EXPECT(files.clean_text && files.handle_chinese_chars);
    EXPECT(!files.lowercase && !files.strip_accents);
    EXPECT_EQUAL(files.cls_id, 2);
    EXPECT_EQUAL(files.sep_id, 3);
    EXPECT_EQUAL(files.unk_id, 1);
    EXPECT_EQUAL(files.n_added_tokens, 2);
    EXPECT_EQUAL(added(&files, "[SEP]")->id, 3);
    EXPECT(added(&files, "[SEP]")->special && !added(&files, "[SEP]")->normalized);
    EXPECT_EQUAL(added(&files, "n")->id, 7);
    EXPECT(added(&files, "n")->rstrip && !added(&files, "n")->normalized);
    EXPECT_EQUAL(files.ids_end, 8);
    tokenizer_files_close(&files);
}

static void a_token_added_twice_keeps_its_id_and_takes_the_new_flags(void)
{
    struct tokenizer_files files;
    struct parts parts = {.added_tokens = "[" ADDED("[SEP]", ",\"special\":true") "]"};
    expect_opened(&files, &(struct folder){.json = json_of(&parts),
                                           .config = "{\"added_tokens_decoder\":{\"0\":{"
                                                     "\"content\":\"[SEP]\",\"lstrip\":true}}}"});
    EXPECT_EQUAL(files.n_added_tokens, 5); /* the others of BERT */
    EXPECT_EQUAL(files.added_tokens[0].id, 3);
    EXPECT(files.added_tokens[0].lstrip && !files.added_tokens[0].special);
    tokenizer_files_close(&files);
}

static void forms_that_real_files_have_are_taken(void)
{
    struct tokenizer_files files;
    expect_json_opened(&files, (struct parts){.normalizer = "null"});
    EXPECT(!files.clean_text && !files.handle_chinese_chars && !files.lowercase);
    tokenizer_files_close(&files);
    expect_json_opened(
        &files, (struct parts){.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[" NORMALIZER
                                             ",{\"type\":\"Lowercase\"}]}",
                               .pre_tokenizer = "{\"type\":\"Sequence\","
                                                "\"pretokenizers\":[" PRE_TOKENIZER "]}"});
    EXPECT(files.clean_text && files.lowercase && !files.strip_accents);
    tokenizer_files_close(&files);
    expect_json_opened(&files, (struct parts){.post_processor = "{\"type\":\"BertProcessing\","
                                                                "\"sep\":[\"[SEP]\",3],"
                                                                "\"cls\":[\"[CLS]\",2]}"});
    EXPECT(files.cls_id == 2 && files.sep_id == 3);
    tokenizer_files_close(&files);
    expect_json_opened(
        &files, (struct parts){.model = "{\"unk_token\":\"u\",\"continuing_subword_prefix\":\"\","
                                        "\"max_input_chars_per_word\":7,"
                                        "\"vocab\":{\"u\":9,\"st\":3}}"});
    EXPECT_EQUAL(files.vocab_size, 10);
    EXPECT_EQUAL(files.unk_id, 9);
    EXPECT_EQUAL(files.vocabulary[0].size, 0);
    EXPECT_EQUAL(files.vocabulary[3].size, 2);
    EXPECT(files.max_chars_per_word == 7 && files.continuation.size == 0);
    tokenizer_files_close(&files);
}

static void the_configuration_and_its_class_defaults_win(void)
{
#define CLASS(name) "\"tokenizer_class\":\"" name "\""
#define GENERIC     CLASS("PreTrainedTokenizerFast")
    static const struct {
        const char *model, *config;
        bool is_bert, lowercase, strip_accents; /* a class of BERT's adds its special tokens */
    } cases[] = {
        {NULL, NULL, false, false, false}, /* which transformers cannot load */
        {NULL, "{}", true, true, true},
        {NULL, "{\"do_lower_case\":false}", true, false, false},
        {NULL, "{\"do_lower_case\":true}", true, true, true},
        {NULL, "{\"do_lower_case\":true,\"strip_accents\":false}", true, true, false},
        {NULL, "{\"strip_accents\":false}", true, true, false},
        {NULL, "{\"do_lower_case\":false,\"strip_accents\":true}", true, false, true},
        {NULL, "{" GENERIC "}", false, false, false},
        {NULL, "{\"do_lower_case\":true," GENERIC "}", false, false, false},
        {NULL, "{\"do_lower_case\":true," CLASS("BertTokenizerFast") "}", true, true, true},
        {"{}", NULL, true, true, true},
        {"{\"model_type\":\"bert\"}", NULL, true, true, true},
        {"{\"model_type\":\"distilbert\"}", NULL, true, true, true},
        {"{\"model_type\":\"bert\"}", "{\"do_lower_case\":false}", true, false, false},
        {"{\"model_type\":\"bert\"," GENERIC "}", NULL, false, false, false},
        {"{" GENERIC "}", "{\"do_lower_case\":true,\"tokenizer_class\":null}", false, false, false},
        {"{" GENERIC "}", "{" CLASS("BertTokenizer") "}", true, true, true},
        {"{" CLASS("BertTokenizer") "}", "{" GENERIC "}", false, false, false},
    };
    struct parts parts = {NULL};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct tokenizer_files files;
        expect_opened(&files, &(struct folder){.json = json_of(&parts),
                                               .config = cases[i].config,
                                               .model = cases[i].model});
        EXPECT_EQUAL(files.lowercase, cases[i].lowercase);
        EXPECT_EQUAL(files.strip_accents, cases[i].strip_accents);
        EXPECT_EQUAL(files.n_added_tokens, cases[i].is_bert ? 5 : 0);
        tokenizer_files_close(&files);
    }
    struct tokenizer_files files;
    expect_opened(&files, &(struct folder){.vocabulary = "other\n",
                                           .json = json_of(&parts),
                                           .config = "{\"mask_token\":\"[MASK]\"," GENERIC "}"});
    EXPECT_EQUAL(files.vocab_size, 7);
    EXPECT_EQUAL(files.n_added_tokens, 1);
    EXPECT_EQUAL(files.mask_id, 4);
    tokenizer_files_close(&files);
}

/* transformers changes a BertNormalizer only. */
static void other_normalizers_stay_as_they_are(void)
{
    struct tokenizer_files files;
    struct parts parts = {.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[" NORMALIZER "]}"};
    expect_opened(&files, &(struct folder){.json = json_of(&parts), .config = "{}"});
    EXPECT(files.clean_text && files.handle_chinese_chars);
    EXPECT(!files.lowercase && !files.strip_accents);
    tokenizer_files_close(&files);
    parts = (struct parts){.normalizer = "{\"type\":\"Lowercase\"}"};
    expect_opened(&files,
                  &(struct folder){.json = json_of(&parts), .config = "{\"do_lower_case\":false}"});
    EXPECT(files.lowercase && !files.strip_accents && !files.handle_chinese_chars);
    tokenizer_files_close(&files);
}

/* transformers 5 gives its own generic class no token types, transformers 4 gives its some. */
static void of_generic_classes_one_has_no_token_types(void)
{
    struct tokenizer_files files;
    struct parts parts = {NULL};
    expect_opened(&files, &(struct folder){.json = json_of(&parts),
                                           .config = "{" CLASS("TokenizersBackend") "}"});
    EXPECT(files.one_token_type && !files.lowercase);
    tokenizer_files_close(&files);
    expect_opened(&files, &(struct folder){.json = json_of(&parts), .config = "{" GENERIC "}"});
    EXPECT(!files.one_token_type && !files.lowercase);
    tokenizer_files_close(&files);
}

static void the_truncation_side_is_the_configurations_else_the_direction(void)
{
    static const struct {
        const char *direction, *config;
        bool left;
    } cases[] = {{"Left", NULL, true},
                 {"Right", NULL, false},
                 {"Left", "{\"model_max_length\":9}", true},
                 {"Left", "{\"truncation_side\":\"right\"}", false},
                 {"Right", "{\"truncation_side\":\"left\"}", true}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct tokenizer_files files;
        struct parts parts = {.truncation = cases[i].direction};
        expect_opened(&files, &(struct folder){.json = json_of(&parts), .config = cases[i].config});
        EXPECT_EQUAL(files.truncate_left, cases[i].left);
        EXPECT_EQUAL(files.model_max_length, cases[i].config && i == 2 ? 9 : UINT32_MAX);
        tokenizer_files_close(&files);
    }
}

static void special_tokens_may_be_split_in_texts(void)
{
    struct tokenizer_files files;
    expect_opened(&files, &(struct folder){VOCAB, .config = "{\"split_special_tokens\":true}",
                                           .added = "{\"new\":7}"});
    EXPECT_EQUAL(files.n_added_tokens, 1);
    EXPECT(is(files.added_tokens[0].content, "new"));
    EXPECT(files.cls_id == 2 && files.sep_id == 3 && files.mask_id == 4);
    tokenizer_files_close(&files);
    expect_opened(&files, &(struct folder){VOCAB, .config = "{\"split_special_tokens\":false}"});
    EXPECT_EQUAL(files.n_added_tokens, 5);
    tokenizer_files_close(&files);
}

static const struct {
    struct parts parts;
    const char *sentence;
} bad_json[] = {
    {{.model = "null"}, "the model's type is missing"},
    {{.model = "{\"type\":\"BPE\"}"}, "the model's type is BPE; weir supports WordPiece"},
    {{.model = "{\"max_input_chars_per_word\":0}"}, "max_input_chars_per_word must be"},
    {{.model = "{\"max_input_chars_per_word\":1001}"}, "from 1 to 1000"},
    {{.model = "{\"max_input_chars_per_word\":1.5}"}, "a whole number"},
    {{.model = "{\"max_input_chars_per_word\":100}"}, "model.unk_token must be a string"},
    {{.model = "{\"max_input_chars_per_word\":9,\"unk_token\":\"u\"}"},
     "model.continuing_subword_prefix must be a string"},
#define MODEL_WITH(vocabulary)                                                                 \
    "{\"max_input_chars_per_word\":9,\"unk_token\":\"u\",\"continuing_subword_prefix\":\"#\"," \
    "\"vocab\":" vocabulary "}"
    {{.model = MODEL_WITH("[\"u\"]")}, "model.vocab must be an object"},
    {{.model = MODEL_WITH("{\"u\":\"0\"}")}, "the id of \"u\" must be a number"},
    {{.model = MODEL_WITH("{\"u\":1e9}")},
     "token \"u\" has id 1000000000; ids are whole and below"},
    {{.model = MODEL_WITH("{\"u\":1000000}")}, "ids are whole and below 1000000"},
    {{.model = MODEL_WITH("{\"u\":-1}")}, "has id -1;"},
    {{.model = MODEL_WITH("{\"u\":0.5}")}, "has id 0.5;"},
    {{.model = MODEL_WITH("{\"u\":99999999999999999999999999}")}, "ids are whole and below"},
    {{.model = MODEL_WITH("{\"u\":3,\"v\":3}")}, "tokens \"u\" and \"v\" both have id 3"},
    {{.model = MODEL_WITH("{\"u\\u0000\":0}")}, "not JSON: NUL byte in object key"},
    {{.model = MODEL_WITH("{\"x\":0}")}, "the token \"u\" is not in the vocabulary"},
    {{.normalizer = "{\"type\":\"NFC\"}"}, "part 1 of the normalizer has type NFC"},
    {{.normalizer =
          "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"}," NORMALIZER "]}"},
     "part 2 of the normalizer has type BertNormalizer"},
    {{.normalizer = "{\"type\":\"BertNormalizer\"}"},
     "normalizer.clean_text must be true or false"},
    {{.pre_tokenizer = "null"}, "the pre_tokenizer's type is missing"},
    {{.pre_tokenizer = "{\"type\":\"Whitespace\"}"}, "type is Whitespace; weir supports Bert"},
    {{.post_processor = "null"}, "the post_processor's type is missing"},
    {{.post_processor = "{\"type\":\"RobertaProcessing\"}"}, "type is RobertaProcessing"},
    {{.post_processor = TEMPLATE(SEQUENCE("A", "0"), PAIR, IDS)}, "template is not BERT's"},
    {{.post_processor = TEMPLATE(SINGLE, SINGLE "," SEQUENCE("B", "1"), IDS)}, "is not BERT's"},
    {{.post_processor =
          TEMPLATE(SINGLE, SINGLE "," SEQUENCE("B", "0") "," SPECIAL("[SEP]", "1"), IDS)},
     "is not BERT's"},
    {{.post_processor =
          TEMPLATE(SINGLE, SINGLE "," SEQUENCE("B", "1") "," SPECIAL("[CLS]", "1"), IDS)},
     "is not BERT's"},
    {{.post_processor = TEMPLATE(SINGLE, PAIR, "{}")}, "\"[CLS]\" must have one id"},
    {{.post_processor = TEMPLATE(SINGLE, PAIR, "{\"[CLS]\":{\"ids\":[1,2]}}")}, "must have one id"},
    {{.post_processor = "{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\"]}"}, "must have one id"},
    {{.added_tokens = "{}"}, "added_tokens must be a list"},
    {{.added_tokens = "[{\"id\":1}]"}, "an added token must be a string or an object"},
    {{.added_tokens = "[" ADDED("x", ",\"special\":1") "]"}, "\"special\" of added token \"x\""},
};

static void bad_tokenizer_json_is_refused(void)
{
    for (size_t i = 0; i < ARRAY_COUNT(bad_json); i++)
        expect_json_refused(bad_json[i].parts, bad_json[i].sentence);
    expect_refused(&(struct folder){.json = ""}, "tokenizer.json: not JSON");
    expect_refused(&(struct folder){.json = "[]"}, "tokenizer.json: must be a JSON object");
    expect_refused(&(struct folder){.vocabulary = VOCAB, .json = "{}"},
                   "tokenizer.json: the model");
}

/* Opening a pipe waits for a writer, if it may. */
static void what_is_no_file_is_refused_at_once(void)
{
    static const char *const names[] = {"tokenizer.json", "vocab.txt", "tokenizer_config.json"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        char folder[TINY_PATH_BYTES], path[TINY_PATH_BYTES + 32], error[ERROR_BYTES] = "";
        struct tokenizer_files files;
        tiny_folder_create(folder);
        if (strcmp(names[i], "vocab.txt") != 0)
            write_file(folder, "vocab.txt", VOCAB);
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        EXPECT_EQUAL(mkfifo(path, 0600), 0);
        EXPECT_EQUAL(tokenizer_files_open(&files, folder, error), -EINVAL);
        EXPECT(strstr(error, names[i]) && strstr(error, ": not a regular file"));
        tiny_folder_remove(folder);
    }
}

/* --- damage --- */

static struct parts full_parts(void)
{
    return (struct parts){.added_tokens = "[" ADDED("[SEP]", ",\"special\":true") "]"};
}

static void a_file_cut_anywhere_is_refused(void)
{
    struct parts parts = full_parts();
    char *whole = strdup(json_of(&parts));
    size_t size = strlen(whole);
    EXPECT(whole);
    for (size_t kept = 0; kept < size; kept += 3) {
        char *cut = strndup(whole, kept);
        EXPECT(cut);
        expect_refused(&(struct folder){.json = cut}, "tokenizer.json: ");
        free(cut);
    }
    free(whole);
}

/* A changed byte gives a tokenizer or a sentence; sanitizers watch. */
static void a_changed_byte_is_read_or_refused(void)
{
    struct parts parts = full_parts();
    char *text = strdup(json_of(&parts));
    size_t size = strlen(text);
    uint64_t state = 11;
    int n_refused = 0;
    EXPECT(text);
    for (size_t i = 0; i < 3000; i++) {
        struct tokenizer_files files;
        char error[ERROR_BYTES] = "";
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t place = (state >> 33) % size;
        char original = text[place];
        text[place] = "0\"{}[],:-e9.\x01\xFF"[(state >> 20) % 14];
        int result = open_folder(&files, &(struct folder){.json = text}, error);
        EXPECT(result == 0 || (result < 0 && error[0] != '\0'));
        n_refused += result != 0;
        tokenizer_files_close(&files);
        text[place] = original;
    }
    EXPECT(n_refused > 1000);
    free(text);
}

/* Linked with --wrap. jansson 2.14 is left out: it frees what it never allocated when memory is
 * short in the middle of a string. */
static int fail_at, n_allocations, n_held;
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void __wrap_free(void *memory);

static bool fails(void)
{
    return fail_at > 0 && ++n_allocations == fail_at;
}

void *__wrap_malloc(size_t size)
{
    void *memory = fails() ? NULL : __real_malloc(size);
    n_held += memory != NULL;
    return memory;
}

void *__wrap_calloc(size_t n, size_t size)
{
    void *memory = fails() ? NULL : __real_calloc(n, size);
    n_held += memory != NULL;
    return memory;
}

void __wrap_free(void *memory)
{
    n_held -= memory != NULL;
    __real_free(memory);
}

static void each_allocation_may_fail(void)
{
    struct parts parts = full_parts();
    const struct folder folders[] = {
        {.json = json_of(&parts), .config = "{\"mask_token\":\"[MASK]\"}"},
        {.vocabulary = VOCAB,
         .config = "{\"additional_special_tokens\":[\"<x>\"]}",
         .specials = "{\"cls_token\":\"[CLS]\"}",
         .added = "{\"new\":7}"},
        {.json = json_of(&parts), .model = "{\"model_type\":\"distilbert\"}"}};
    for (size_t i = 0; i < ARRAY_COUNT(folders); i++) {
        bool failed = true;
        for (int n = 1; failed; n++) {
            struct tokenizer_files files;
            char error[ERROR_BYTES] = "", folder[TINY_PATH_BYTES];
            int held_before = n_held;
            tiny_folder_create(folder);
            write_file(folder, "vocab.txt", folders[i].vocabulary);
            write_file(folder, "tokenizer.json", folders[i].json);
            write_file(folder, "tokenizer_config.json", folders[i].config);
            write_file(folder, "special_tokens_map.json", folders[i].specials);
            write_file(folder, "added_tokens.json", folders[i].added);
            write_file(folder, "config.json", folders[i].model);
            fail_at = n;
            n_allocations = 0;
            int result = tokenizer_files_open(&files, folder, error);
            failed = n_allocations >= n;
            fail_at = 0;
            EXPECT(failed ? result < 0 && error[0] != '\0' : result == 0);
            tokenizer_files_close(&files);
            tiny_folder_remove(folder);
            EXPECT_EQUAL(n_held, held_before);
        }
    }
}

int main(void)
{
    RUN(vocab_txt_alone_is_uncased_bert);
    RUN(only_newlines_end_lines_and_white_space_ends_none);
    RUN(of_equal_lines_the_last_counts);
    RUN(bad_vocabularies_are_refused);
    RUN(the_configuration_sets_options_and_limits);
    RUN(the_class_and_model_input_names_decide_about_token_types);
    RUN(an_old_file_calls_the_limit_max_len);
    RUN(no_limit_at_all_is_written_as_a_huge_number);
    RUN(special_tokens_may_have_other_names);
    RUN(added_tokens_get_the_ids_of_the_reference);
    RUN(bad_configurations_are_refused);
    RUN(tokenizer_json_is_read);
    RUN(a_token_added_twice_keeps_its_id_and_takes_the_new_flags);
    RUN(forms_that_real_files_have_are_taken);
    RUN(the_configuration_and_its_class_defaults_win);
    RUN(other_normalizers_stay_as_they_are);
    RUN(of_generic_classes_one_has_no_token_types);
    RUN(the_truncation_side_is_the_configurations_else_the_direction);
    RUN(special_tokens_may_be_split_in_texts);
    RUN(bad_tokenizer_json_is_refused);
    RUN(what_is_no_file_is_refused_at_once);
    RUN(a_file_cut_anywhere_is_refused);
    RUN(a_changed_byte_is_read_or_refused);
    RUN(each_allocation_may_fail);
    return 0;
}
