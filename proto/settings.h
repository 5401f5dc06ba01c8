/* Every flag of weir, once: name, environment twin, default, bounds and help. The parser, --help
 * and docs/flags.md come from this table. All processes get the same command line
 * (scripts/supervisor hands it on) and use what concerns them. Names are those of Text Embeddings
 * Inference where it has the flag.
 *
 *     --port 8080   --port=8080   PORT=8080        a flag beats the environment
 *     --auto-truncate   --auto-truncate=false   --no-auto-truncate   AUTO_TRUNCATE=false
 *
 * An empty environment variable counts as unset; of a flag given twice the last one holds. */
#ifndef WEIR_PROTO_SETTINGS_H
#define WEIR_PROTO_SETTINGS_H

#include "shm/base.h"

/* STRING(field, flag, environment, default, help)
 * CHOICE(field, flag, environment, default, choices, help)       choices: "a, b, c"
 * NUMBER(field, flag, environment, default, minimum, maximum, help)
 * SWITCH(field, flag, environment, default, help)
 *
 * environment: one name, or several "FIRST,SECOND" of which the first that is set holds. */
#define SETTINGS_MODEL(STRING, CHOICE, NUMBER, SWITCH)                                            \
    STRING(model_id, "model-id", "MODEL_ID", "models/tiny-sst2",                                  \
           "folder of the model: config.json, model.safetensors, tokenizer files")                \
    STRING(served_model_name, "served-model-name", "SERVED_MODEL_NAME", "",                       \
           "name shown in answers; default: the folder's name")                                   \
    CHOICE(backend, "backend", "BACKEND", "auto", "auto, cpu, cuda",                              \
           "where the model runs; auto: cuda where a card is found, else cpu")                    \
    CHOICE(dtype, "dtype", "DTYPE", "auto", "auto, float32, float16, bfloat16, fp8, int8",        \
           "type of the weights; auto: the backend's default")                                    \
    NUMBER(threads, "threads", "THREADS", 0, 0, 1024, "threads of the cpu backend; 0: all cores") \
    NUMBER(max_batch_tokens, "max-batch-tokens", "MAX_BATCH_TOKENS", 16384, 16, 1048576,          \
           "tokens a batch may hold; raised to the model's length if below it")                   \
    NUMBER(max_batch_requests, "max-batch-requests", "MAX_BATCH_REQUESTS", 512, 1, 65536,         \
           "texts a batch may hold")

#define SETTINGS_HTTP(STRING, CHOICE, NUMBER, SWITCH)                                             \
    STRING(hostname, "hostname", "WEIR_HOSTNAME", "0.0.0.0",                                      \
           "address to listen on (not $HOSTNAME: containers set that to their own name)")         \
    NUMBER(port, "port", "AIP_HTTP_PORT,PORT", 8080, 0, 65535,                                    \
           "port to listen on; 0: any, for one process by itself")                                \
    NUMBER(frontends, "frontends", "FRONTENDS", 0, 0, 63, "frontend processes; 0: by cores")      \
    STRING(api_key, "api-key", "API_KEY", "",                                                     \
           "when set, predict routes want Authorization: Bearer")                                 \
    STRING(health_route, "health-route", "AIP_HEALTH_ROUTE", "", "one more path for GET /health") \
    STRING(predict_route, "predict-route", "AIP_PREDICT_ROUTE", "",                               \
           "one more path for POST /predict")                                                     \
    SWITCH(h2c, "h2c", "H2C", false, "HTTP/2 by prior knowledge (see docs/architecture.md first)")

#define SETTINGS_LIMITS(STRING, CHOICE, NUMBER, SWITCH)                                            \
    NUMBER(max_concurrent_requests, "max-concurrent-requests", "MAX_CONCURRENT_REQUESTS", 1024, 2, \
           65536,                                                                                  \
           "texts one frontend may have in flight (rounded up to a power of two); "                \
           "more are answered 429")                                                                \
    NUMBER(max_client_batch_size, "max-client-batch-size", "MAX_CLIENT_BATCH_SIZE", 256, 1, 65536, \
           "texts one request may hold; more are answered 422")                                    \
    NUMBER(max_input_length, "max-input-length", "MAX_INPUT_LENGTH", 0, 0, 8192,                   \
           "tokens of a text, special ones included; 0: what the model takes")                     \
    SWITCH(auto_truncate, "auto-truncate", "AUTO_TRUNCATE", true,                                  \
           "cut longer texts (and say so in x-truncated); off: answer 422")                        \
    NUMBER(payload_limit, "payload-limit", "PAYLOAD_LIMIT", 2000000, 64, 33554432,                 \
           "bytes of a request's body; more are answered 413")                                     \
    NUMBER(tokenize_payload_limit, "tokenize-payload-limit", "TOKENIZE_PAYLOAD_LIMIT", 262144, 64, \
           33554432, "the same for /tokenize, whose answer is many times as long")                 \
    NUMBER(max_json_depth, "max-json-depth", "MAX_JSON_DEPTH", 32, 4, 256,                         \
           "nesting of a request's body; more is answered 400")                                    \
    NUMBER(request_timeout_ms, "request-timeout-ms", "REQUEST_TIMEOUT_MS", 30000, 1, 3600000,      \
           "deadline of a request without x-request-timeout-ms; after it 504")                     \
    NUMBER(client_timeout_ms, "client-timeout-ms", "CLIENT_TIMEOUT_MS", 75000, 10, 3600000,        \
           "idle keep-alive, and the time a client may take to send a request")                    \
    NUMBER(max_connections, "max-connections", "MAX_CONNECTIONS", 10000, 1, 1000000,               \
           "connections one frontend holds; more wait in the kernel's queue")                      \
    NUMBER(drain_timeout_ms, "drain-timeout-ms", "DRAIN_TIMEOUT_MS", 8000, 100, 600000,            \
           "time in-flight requests get after SIGTERM")                                            \
    NUMBER(hang_timeout_ms, "hang-timeout-ms", "HANG_TIMEOUT_MS", 30000, 500, 3600000,             \
           "silence after which a worker is replaced; more than its longest batch")                \
    NUMBER(start_timeout_ms, "start-timeout-ms", "START_TIMEOUT_MS", 120000, 100, 3600000,         \
           "time a phase of the encoder's start may take; then the worker is replaced")

#define SETTINGS_LOGS(STRING, CHOICE, NUMBER, SWITCH)                                  \
    CHOICE(log_level, "log-level", "LOG_LEVEL", "info", "debug, info, warning, error", \
           "least severity that is logged")                                            \
    SWITCH(json_output, "json-output", "JSON_OUTPUT", false,                           \
           "logs as JSON lines for Cloud Logging")                                     \
    SWITCH(access_log, "access-log", "ACCESS_LOG", false, "one log line per request")

#define SETTINGS_PROCESSES(STRING, CHOICE, NUMBER, SWITCH)                                         \
    STRING(segment, "segment", "WEIR_SEGMENT", "/dev/shm/weir",                                    \
           "file of the shared-memory segment; one server, one name")                              \
    NUMBER(lane, "lane", "WEIR_LANE", 0, 0, 63, "this frontend's lane; set by scripts/supervisor") \
    NUMBER(ready_fd, "ready-fd", "WEIR_READY_FD", 0, 0, 1024,                                      \
           "descriptor that gets a newline once the process is ready; 0: none")

/* The groups in the order --help shows them; GROUP(title, table). */
#define SETTINGS_GROUPS(GROUP)                 \
    GROUP("Model and batches", SETTINGS_MODEL) \
    GROUP("HTTP", SETTINGS_HTTP)               \
    GROUP("Limits", SETTINGS_LIMITS)           \
    GROUP("Logs", SETTINGS_LOGS)               \
    GROUP("Processes", SETTINGS_PROCESSES)

#define SETTINGS(STRING, CHOICE, NUMBER, SWITCH)    \
    SETTINGS_MODEL(STRING, CHOICE, NUMBER, SWITCH)  \
    SETTINGS_HTTP(STRING, CHOICE, NUMBER, SWITCH)   \
    SETTINGS_LIMITS(STRING, CHOICE, NUMBER, SWITCH) \
    SETTINGS_LOGS(STRING, CHOICE, NUMBER, SWITCH)   \
    SETTINGS_PROCESSES(STRING, CHOICE, NUMBER, SWITCH)

#define SETTINGS_STRING_FIELD(field, flag, environment, fallback, help)          const char *field;
#define SETTINGS_CHOICE_FIELD(field, flag, environment, fallback, choices, help) const char *field;
#define SETTINGS_NUMBER_FIELD(field, flag, environment, fallback, minimum, maximum, help) \
    uint32_t field;
#define SETTINGS_SWITCH_FIELD(field, flag, environment, fallback, help) bool field;

/* Strings are borrowed from argv, the environment or the table. */
struct settings {
    SETTINGS(SETTINGS_STRING_FIELD, SETTINGS_CHOICE_FIELD, SETTINGS_NUMBER_FIELD,
             SETTINGS_SWITCH_FIELD)
};

/* How a process ends that cannot go on, by sysexits: EX_USAGE and EX_CONFIG, after which no other
 * start helps and the supervisor makes none; EX_TEMPFAIL, what another start may cure. */
#define SETTINGS_EXIT_USAGE  64
#define SETTINGS_EXIT_CONFIG 78
#define SETTINGS_EXIT_RETRY  75

enum settings_result { SETTINGS_OK, SETTINGS_HELP, SETTINGS_BAD };

/* Defaults, then the environment (looked up by `environment_get`, as getenv), then argv[1..].
 * SETTINGS_BAD fills `error` with a sentence that names the flag, the value and what is allowed;
 * json_output then says how to log that, wherever the flag stands.
 * SETTINGS_HELP wherever --help or -h stands, even beside mistakes. */
enum settings_result settings_parse(struct settings *settings, int argc, char *const *argv,
                                    char *(*environment_get)(const char *name),
                                    char error[ERROR_BYTES]);

/* The text of --help on stdout, at most 100 columns wide. */
void settings_print_help(const char *program);
/* The whole of docs/flags.md on stdout. */
void settings_print_markdown(void);

#endif
