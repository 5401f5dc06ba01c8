/* models/config.c: what transformers would make of a config.json, and each refusal by its sentence.
 */
#include "models/config.h"

#include "tests/models/tiny_folder.h"
#include "tests/proto/guard.h"
#include "tests/test.h"

#include <errno.h>

#define DISTILBERT "\"architectures\": [\"DistilBertForSequenceClassification\"]"
#define BERT       "\"architectures\": [\"BertForSequenceClassification\"]"

/* Parses {`head`, `rest`} at a guard page; the caller frees the strings. */
static int parse(const char *head, const char *rest, struct model_config *config, void **strings,
                 char error[ERROR_BYTES])
{
    size_t room = strlen(head) + strlen(rest) + 8;
    char *text = malloc(room);
    size_t size_bytes = (size_t)sprintf(text, "{%s%s%s}", head, *rest ? ", " : "", rest);
    struct guard guard = guard_open(size_bytes);
    int status =
        config_parse(guard_place(&guard, text, size_bytes, 0), size_bytes, config, strings, error);

    guard_close(&guard);
    free(text);
    return status;
}

static void expect_taken(const char *head, const char *rest, struct model_config *config,
                         void **strings)
{
    char error[ERROR_BYTES] = "";
    int status = parse(head, rest, config, strings, error);

    if (status)
        fprintf(stderr, "refused: %s\n", error);
    EXPECT_EQUAL(status, 0);
}

static void expect_refused(const char *head, const char *rest, const char *sentence)
{
    char error[ERROR_BYTES] = "", expected[ERROR_BYTES];
    struct model_config config;
    void *strings;

    snprintf(expected, sizeof(expected), "config.json: %s", sentence);
    EXPECT_EQUAL(parse(head, rest, &config, &strings, error), -EINVAL);
    EXPECT_STRING(error, expected);
    EXPECT(!strings);
}

static void what_a_distilbert_leaves_out_is_the_base_model(void)
{
    struct model_config config;
    void *strings;

    expect_taken(DISTILBERT, "", &config, &strings);
    EXPECT_EQUAL(config.architecture, MODEL_DISTILBERT);
    EXPECT_STRING(config.model_type, "distilbert");
    EXPECT_EQUAL(config.vocab_size, 30522);
    EXPECT_EQUAL(config.hidden_dim, 768);
    EXPECT_EQUAL(config.n_layers, 6);
    EXPECT_EQUAL(config.n_heads, 12);
    EXPECT_EQUAL(config.ffn_dim, 3072);
    EXPECT_EQUAL(config.n_positions, 512);
    EXPECT_EQUAL(config.n_types, 0);
    EXPECT_EQUAL(config.n_labels, 2);
    EXPECT_STRING(config.labels[0], "LABEL_0");
    EXPECT_STRING(config.labels[1], "LABEL_1");
    EXPECT_EQUAL(config.activation, MODEL_GELU);
    EXPECT_EQUAL(config.problem, MODEL_SINGLE_LABEL);
    EXPECT(config.layer_norm_eps == 1e-12f);
    free(strings);
}

static void what_a_bert_leaves_out_is_the_base_model(void)
{
    struct model_config config;
    void *strings;

    expect_taken(BERT, "", &config, &strings);
    EXPECT_EQUAL(config.architecture, MODEL_BERT);
    EXPECT_STRING(config.model_type, "bert");
    EXPECT_EQUAL(config.n_layers, 12);
    EXPECT_EQUAL(config.n_types, 2);
    EXPECT(config.layer_norm_eps == 1e-12f);
    free(strings);
}

static void a_whole_config_is_read_field_by_field(void)
{
    struct model_config config;
    void *strings;
    const char *text = tiny_config(MODEL_BERT);
    char error[ERROR_BYTES];

    EXPECT_EQUAL(config_parse(text, strlen(text), &config, &strings, error), 0);
    EXPECT_EQUAL(config.vocab_size, TINY_VOCAB);
    EXPECT_EQUAL(config.hidden_dim, TINY_DIM);
    EXPECT_EQUAL(config.n_layers, TINY_LAYERS);
    EXPECT_EQUAL(config.n_heads, TINY_HEADS);
    EXPECT_EQUAL(config.ffn_dim, TINY_FFN);
    EXPECT_EQUAL(config.n_positions, TINY_POSITIONS);
    EXPECT_EQUAL(config.n_types, TINY_TYPES);
    EXPECT_EQUAL(config.n_labels, TINY_LABELS);
    EXPECT_EQUAL(config.activation, MODEL_RELU);
    EXPECT(config.layer_norm_eps == 1e-5f);
    EXPECT_STRING(config.labels[1], "so-so");
    free(strings);
}

static void aliases_win_and_null_means_missing(void)
{
    struct model_config config;
    void *strings;

    expect_taken(DISTILBERT, "\"dim\": 768, \"hidden_size\": 48, \"num_hidden_layers\": 3", &config,
                 &strings);
    EXPECT_EQUAL(config.hidden_dim, 48);
    EXPECT_EQUAL(config.n_layers, 3);
    free(strings);
    expect_taken(BERT,
                 "\"hidden_size\": null, \"id2label\": null, \"problem_type\": null, "
                 "\"quantization_config\": null, \"position_embedding_type\": null",
                 &config, &strings);
    EXPECT_EQUAL(config.hidden_dim, 768);
    EXPECT_EQUAL(config.n_labels, 2);
    free(strings);
}

static void a_distilbert_ignores_layer_norm_eps(void)
{
    struct model_config config;
    void *strings;

    expect_taken(DISTILBERT, "\"layer_norm_eps\": 0.001", &config, &strings);
    EXPECT(config.layer_norm_eps == 1e-12f);
    free(strings);
}

static void without_a_class_name_the_model_type_decides(void)
{
    struct model_config config;
    void *strings;

    expect_taken("\"model_type\": \"bert\"", "", &config, &strings);
    EXPECT_EQUAL(config.architecture, MODEL_BERT);
    free(strings);
}

/* Every number at its lower limit - 1, at both limits, and at its upper limit + 1. */
static void numbers_are_taken_within_their_limits_only(void)
{
    static const struct {
        const char *head, *name;
        uint32_t maximum;
        const char *with;
    } numbers[] = {
        {DISTILBERT, "vocab_size", MODEL_VOCAB_MAX, ""},
        {DISTILBERT, "dim", MODEL_DIM_MAX, ", \"n_heads\": 1"},
        {DISTILBERT, "n_layers", MODEL_LAYERS_MAX, ""},
        {DISTILBERT, "n_heads", MODEL_HEADS_MAX, ", \"dim\": 1024"},
        {DISTILBERT, "hidden_dim", MODEL_FFN_MAX, ""},
        {DISTILBERT, "max_position_embeddings", MODEL_POSITIONS_MAX, ""},
        {DISTILBERT, "num_labels", MODEL_LABELS_MAX, ""},
        {BERT, "vocab_size", MODEL_VOCAB_MAX, ""},
        {BERT, "hidden_size", MODEL_DIM_MAX, ", \"num_attention_heads\": 1"},
        {BERT, "num_hidden_layers", MODEL_LAYERS_MAX, ""},
        {BERT, "num_attention_heads", MODEL_HEADS_MAX, ", \"hidden_size\": 1024"},
        {BERT, "intermediate_size", MODEL_FFN_MAX, ""},
        {BERT, "max_position_embeddings", MODEL_POSITIONS_MAX, ""},
        {BERT, "type_vocab_size", MODEL_TYPES_MAX, ""},
    };

    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) {
        const long long values[] = {-1,       0, 1, numbers[i].maximum, numbers[i].maximum + 1LL,
                                    INT64_MAX};
        for (size_t v = 0; v < ARRAY_COUNT(values); v++) {
            char rest[128], sentence[ERROR_BYTES];
            struct model_config config;
            void *strings;
            snprintf(rest, sizeof(rest), "\"%s\": %lld%s", numbers[i].name, values[v],
                     numbers[i].with);
            snprintf(sentence, sizeof(sentence), "\"%s\" is %lld; weir takes 1 to %u",
                     numbers[i].name, values[v], numbers[i].maximum);
            if (values[v] >= 1 && values[v] <= numbers[i].maximum) {
                expect_taken(numbers[i].head, rest, &config, &strings);
                free(strings);
            } else {
                expect_refused(numbers[i].head, rest, sentence);
            }
        }
    }
}

static void numbers_that_are_no_whole_numbers_are_refused(void)
{
    expect_refused(DISTILBERT, "\"dim\": 768.0", "\"dim\" must be a whole number");
    expect_refused(DISTILBERT, "\"hidden_size\": \"768\"",
                   "\"hidden_size\" must be a whole number");
    expect_refused(BERT, "\"num_labels\": true", "\"num_labels\" must be a whole number");
    expect_refused(DISTILBERT, "\"dim\": 770",
                   "770 dimensions cannot be shared among 12 attention heads");
    expect_refused(BERT, "\"layer_norm_eps\": 0",
                   "\"layer_norm_eps\" must be a number above 0, at most 0.1");
    expect_refused(BERT, "\"layer_norm_eps\": 0.2",
                   "\"layer_norm_eps\" must be a number above 0, at most 0.1");
    expect_refused(BERT, "\"layer_norm_eps\": \"1e-12\"",
                   "\"layer_norm_eps\" must be a number above 0, at most 0.1");
}

static void what_the_encoders_do_not_compute_is_refused(void)
{
    expect_refused("\"architectures\": [\"RobertaForSequenceClassification\"]", "",
                   "the architecture is RobertaForSequenceClassification; weir serves "
                   "DistilBertForSequenceClassification and BertForSequenceClassification");
    expect_refused("\"architectures\": [\"BertForMaskedLM\"]", "\"model_type\": \"bert\"",
                   "the architecture is BertForMaskedLM; weir serves "
                   "DistilBertForSequenceClassification and BertForSequenceClassification");
    expect_refused("\"model_type\": \"xlnet\"", "",
                   "the architecture is xlnet; weir serves DistilBertForSequenceClassification and "
                   "BertForSequenceClassification");
    expect_refused("", "",
                   "the architecture is not named; weir serves DistilBertForSequenceClassification "
                   "and BertForSequenceClassification");
    expect_refused(DISTILBERT, "\"activation\": \"gelu_new\"",
                   "\"activation\" is gelu_new; weir computes gelu (the exact one) and relu");
    expect_refused(
        BERT, "\"hidden_act\": \"gelu_pytorch_tanh\"",
        "\"hidden_act\" is gelu_pytorch_tanh; weir computes gelu (the exact one) and relu");
    expect_refused(BERT, "\"hidden_act\": 3",
                   "\"hidden_act\" is not a string; weir computes gelu (the exact one) and relu");
    expect_refused(BERT, "\"position_embedding_type\": \"relative_key\"",
                   "\"position_embedding_type\" is relative_key; weir computes absolute ones only");
    expect_refused(BERT, "\"is_decoder\": true",
                   "\"is_decoder\" is true; weir serves encoders only");
    expect_refused(BERT, "\"add_cross_attention\": true",
                   "\"add_cross_attention\" is true; weir serves plain encoders only");
    expect_refused(BERT, "\"pruned_heads\": {\"1\": [0]}",
                   "\"pruned_heads\" names heads that are missing; weir needs them all");
    expect_refused(
        DISTILBERT, "\"quantization_config\": {\"load_in_8bit\": true}",
        "\"quantization_config\": the weights are quantized; take the float32, float16 or "
        "bfloat16 checkpoint, and --dtype int8 if wanted");
}

static void the_usual_defaults_written_out_are_taken(void)
{
    struct model_config config;
    void *strings;

    expect_taken(BERT,
                 "\"position_embedding_type\": \"absolute\", \"is_decoder\": false, "
                 "\"add_cross_attention\": false, \"pruned_heads\": {}, "
                 "\"hidden_act\": \"gelu_python\"",
                 &config, &strings);
    EXPECT_EQUAL(config.activation, MODEL_GELU);
    free(strings);
}

static void labels_are_put_in_the_order_of_their_numbers(void)
{
    struct model_config config;
    void *strings;

    expect_taken(DISTILBERT,
                 "\"id2label\": {\"2\": \"joy\", \"0\": \"\", \"1\": \"\xc3\xa9tonn\xc3\xa9\"}, "
                 "\"num_labels\": 7",
                 &config, &strings);
    EXPECT_EQUAL(config.n_labels, 3);
    EXPECT_STRING(config.labels[0], "");
    EXPECT_STRING(config.labels[1], "\xc3\xa9tonn\xc3\xa9");
    EXPECT_STRING(config.labels[2], "joy");
    free(strings);
}

static void a_label_may_be_a_whole_number(void)
{
    struct model_config config;
    void *strings;

    expect_taken(BERT, "\"id2label\": {\"0\": -9223372036854775808, \"1\": \"1\", \"2\": 0}",
                 &config, &strings);
    EXPECT_STRING(config.labels[0], "-9223372036854775808");
    EXPECT_STRING(config.labels[1], "1");
    EXPECT_STRING(config.labels[2], "0");
    EXPECT(config.label_is_number[0] && !config.label_is_number[1] && config.label_is_number[2]);
    free(strings);
}

static void an_answer_may_have_all_scores_by_default(void)
{
    struct model_config config;
    void *strings;

    expect_taken(BERT, "\"return_all_scores\": true", &config, &strings);
    EXPECT(config.return_all_scores);
    free(strings);
    expect_taken(BERT, "\"return_all_scores\": false", &config, &strings);
    EXPECT(!config.return_all_scores && !config.label_is_number[1]);
    free(strings);
}

static void labels_without_names_are_numbered(void)
{
    struct model_config config;
    void *strings;

    expect_taken(BERT, "\"num_labels\": 1024", &config, &strings);
    EXPECT_STRING(config.labels[0], "LABEL_0");
    EXPECT_STRING(config.labels[1023], "LABEL_1023");
    free(strings);
}

static void odd_maps_of_labels_are_refused(void)
{
    expect_refused(BERT, "\"id2label\": {}", "\"id2label\" must name 1 to 1024 labels");
    expect_refused(BERT, "\"id2label\": [\"a\"]", "\"id2label\" must name 1 to 1024 labels");
    expect_refused(BERT, "\"id2label\": {\"0\": \"a\", \"2\": \"b\"}",
                   "\"id2label\" has the key \"2\"; its 2 keys must be 0 to 1");
    expect_refused(BERT, "\"id2label\": {\"0\": \"a\", \"00\": \"b\"}",
                   "\"id2label\" has the key \"00\"; its 2 keys must be 0 to 1");
    expect_refused(BERT, "\"id2label\": {\"-1\": \"a\"}",
                   "\"id2label\" has the key \"-1\"; its 1 keys must be 0 to 0");
    expect_refused(BERT, "\"id2label\": {\"\": \"a\"}",
                   "\"id2label\" has the key \"\"; its 1 keys must be 0 to 0");
    expect_refused(BERT, "\"id2label\": {\"18446744073709551616\": \"a\"}",
                   "\"id2label\" has the key \"18446744073709551616\"; its 1 keys must be 0 to 0");
    static const char *const values[] = {"0.5", "null", "true", "[]"};
    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        char rest[64];
        snprintf(rest, sizeof(rest), "\"id2label\": {\"0\": %s}", values[i]);
        expect_refused(BERT, rest, "\"id2label\": label 0 must be a string or a whole number");
    }
}

static void a_label_may_have_so_many_bytes_and_no_more(void)
{
    char rest[512], name[MODEL_LABEL_BYTES_MAX + 2];
    struct model_config config;
    void *strings;

    memset(name, 'x', sizeof(name));
    name[MODEL_LABEL_BYTES_MAX] = '\0';
    snprintf(rest, sizeof(rest), "\"id2label\": {\"0\": \"%s\"}", name);
    expect_taken(BERT, rest, &config, &strings);
    EXPECT_STRING(config.labels[0], name);
    free(strings);
    name[MODEL_LABEL_BYTES_MAX] = 'x';
    name[MODEL_LABEL_BYTES_MAX + 1] = '\0';
    snprintf(rest, sizeof(rest), "\"id2label\": {\"0\": \"%s\"}", name);
    expect_refused(BERT, rest, "\"id2label\": label 0 has 257 bytes; weir takes 256");
}

static void more_labels_than_the_limit_are_refused(void)
{
    char *rest = malloc((MODEL_LABELS_MAX + 1) * 16);
    size_t used = (size_t)sprintf(rest, "\"id2label\": {\"0\": \"a\"");

    for (int i = 1; i <= MODEL_LABELS_MAX; i++)
        used += (size_t)sprintf(rest + used, ", \"%d\": \"a\"", i);
    strcpy(rest + used, "}");
    expect_refused(DISTILBERT, rest, "\"id2label\" must name 1 to 1024 labels");
    free(rest);
}

static void the_problem_is_chosen_as_the_pipeline_chooses(void)
{
    static const struct {
        const char *rest;
        enum model_problem problem;
    } cases[] = {
        {"\"num_labels\": 1", MODEL_MULTI_LABEL},
        {"\"num_labels\": 2", MODEL_SINGLE_LABEL},
        {"\"num_labels\": 1, \"problem_type\": \"regression\"", MODEL_REGRESSION},
        {"\"num_labels\": 5, \"problem_type\": \"regression\"", MODEL_REGRESSION},
        {"\"num_labels\": 5, \"problem_type\": \"multi_label_classification\"", MODEL_MULTI_LABEL},
        {"\"num_labels\": 1, \"problem_type\": \"multi_label_classification\"", MODEL_MULTI_LABEL},
        {"\"num_labels\": 1, \"problem_type\": \"single_label_classification\"", MODEL_MULTI_LABEL},
        {"\"num_labels\": 2, \"problem_type\": \"single_label_classification\"",
         MODEL_SINGLE_LABEL},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct model_config config;
        void *strings;
        expect_taken(DISTILBERT, cases[i].rest, &config, &strings);
        EXPECT_EQUAL(config.problem, cases[i].problem);
        free(strings);
    }
    expect_refused(BERT, "\"problem_type\": \"ranking\"",
                   "\"problem_type\" is ranking; known are regression, single_label_classification "
                   "and multi_label_classification");
}

/* The words between are jansson's. */
static void expect_no_json(const char *text, const char *place)
{
    char error[ERROR_BYTES] = "";
    struct model_config config;
    void *strings;

    EXPECT_EQUAL(config_parse(text, strlen(text), &config, &strings, error), -EINVAL);
    EXPECT(strncmp(error, "config.json: not JSON: ", strlen("config.json: not JSON: ")) == 0);
    EXPECT_STRING(error + strlen(error) - strlen(place), place);
}

static void what_is_no_json_is_refused_with_its_place(void)
{
    expect_no_json("{\"a\": ,}", " (line 1, column 7)");
    expect_no_json("{\n\"a\": NaN}", " (line 2, column 8)");
    expect_no_json("<html>", " (line 1, column 1)");
}

static void every_prefix_of_a_config_is_refused(void)
{
    const char *text = tiny_config(MODEL_DISTILBERT);
    struct guard guard = guard_open(strlen(text));

    for (size_t size = 0; size < strlen(text); size++) {
        const char *prefix = guard_place(&guard, text, size, 0);
        char error[ERROR_BYTES] = "";
        struct model_config config;
        void *strings;
        EXPECT_EQUAL(config_parse(prefix, size, &config, &strings, error), -EINVAL);
        EXPECT(strncmp(error, "config.json: not JSON: ", 23) == 0 && !strings);
    }
    guard_close(&guard);
}

/* jansson takes some failures for a wrong token, and even drops a character; what counts here is
 * that each ends in a refusal and leaves nothing behind. */
static void every_failed_allocation_of_the_parser_ends_soundly(void)
{
    const char *text = tiny_config(MODEL_DISTILBERT);
    int n = 0;

    do {
        char error[ERROR_BYTES] = "";
        struct model_config config;
        void *strings;
        int status;
        tiny_fail_allocation(++n);
        status = config_parse(text, strlen(text), &config, &strings, error);
        EXPECT_EQUAL(tiny_allocations_held(), 0);
        EXPECT(!status == !error[0] && !status == !!strings);
        if (n == 1)
            EXPECT_STRING(error, "config.json: no memory to read it");
        free(strings);
    } while (tiny_allocation_failed());
    tiny_fail_allocation(0);
}

int main(void)
{
    RUN(what_a_distilbert_leaves_out_is_the_base_model);
    RUN(what_a_bert_leaves_out_is_the_base_model);
    RUN(a_whole_config_is_read_field_by_field);
    RUN(aliases_win_and_null_means_missing);
    RUN(a_distilbert_ignores_layer_norm_eps);
    RUN(without_a_class_name_the_model_type_decides);
    RUN(numbers_are_taken_within_their_limits_only);
    RUN(numbers_that_are_no_whole_numbers_are_refused);
    RUN(what_the_encoders_do_not_compute_is_refused);
    RUN(the_usual_defaults_written_out_are_taken);
    RUN(labels_are_put_in_the_order_of_their_numbers);
    RUN(a_label_may_be_a_whole_number);
    RUN(an_answer_may_have_all_scores_by_default);
    RUN(labels_without_names_are_numbered);
    RUN(odd_maps_of_labels_are_refused);
    RUN(a_label_may_have_so_many_bytes_and_no_more);
    RUN(more_labels_than_the_limit_are_refused);
    RUN(the_problem_is_chosen_as_the_pipeline_chooses);
    RUN(what_is_no_json_is_refused_with_its_place);
    RUN(every_prefix_of_a_config_is_refused);
    RUN(every_failed_allocation_of_the_parser_ends_soundly);
    return 0;
}
