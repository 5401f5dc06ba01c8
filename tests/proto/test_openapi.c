/* The description that the server sends is JSON, has every native route, and refers to nothing that
 * it lacks. test_against_python.py runs openapi-spec-validator over it where that is installed. */
#include "proto/openapi.h"
#include "tests/test.h"

#include <jansson.h>
#include <stdbool.h>

#define ROUTES_BYTES 65536

static json_t *document;

static void the_embedded_bytes_are_the_file(void)
{
    FILE *file = fopen("docs/openapi.json", "rb");
    char *stored = malloc(openapi_json_size + 1);

    EXPECT(file != NULL && stored != NULL);
    EXPECT_EQUAL(fread(stored, 1, openapi_json_size + 1, file), openapi_json_size);
    EXPECT(memcmp(stored, openapi_json, openapi_json_size) == 0);
    EXPECT(openapi_json[openapi_json_size] == '\0');
    fclose(file);
    free(stored);
}

static json_t *operation(const char *path, const char *method)
{
    return json_object_get(json_object_get(json_object_get(document, "paths"), path), method);
}

static void every_native_route_is_described(void)
{
    static const char *const routes[][2] = {
        {"/predict", "post"}, {"/tokenize", "post"}, {"/healthz", "get"},
        {"/health", "get"},   {"/ready", "get"},     {"/live", "get"},
        {"/metrics", "get"},  {"/info", "get"},      {"/openapi.json", "get"},
    };

    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        json_t *responses = json_object_get(operation(routes[i][0], routes[i][1]), "responses");
        if (responses == NULL)
            fprintf(stderr, "missing: %s %s\n", routes[i][1], routes[i][0]);
        EXPECT(json_object_get(responses, "200") != NULL);
    }
}

/* The frontend's table of routes, as text: rows like {"POST", "/predict", ...}. */
static char *read_routes(void)
{
    FILE *file = fopen("frontend/routes.c", "rb");
    char *text = calloc(1, ROUTES_BYTES);

    EXPECT(file != NULL && text != NULL);
    EXPECT(fread(text, 1, ROUTES_BYTES - 1, file) > 0);
    fclose(file);
    return text;
}

static void the_frontend_serves_what_is_described_and_nothing_else(void)
{
    char *routes = read_routes(), quoted[80];
    const char *path;
    json_t *item;
    size_t n_rows = 0;

    json_object_foreach(json_object_get(document, "paths"), path, item)
    {
        snprintf(quoted, sizeof(quoted), "\"%s\"", path);
        if (strstr(routes, quoted) == NULL)
            fprintf(stderr, "described but not served: %s\n", path);
        EXPECT(strstr(routes, quoted) != NULL);
    }
    for (const char *row = routes; (row = strstr(row, "\", \"/")) != NULL; n_rows++) {
        row += strlen("\", \"");
        snprintf(quoted, sizeof(quoted), "%.*s", (int)strcspn(row, "\""), row);
        if (json_object_get(json_object_get(document, "paths"), quoted) == NULL)
            fprintf(stderr, "served but not described: %s\n", quoted);
        EXPECT(json_object_get(json_object_get(document, "paths"), quoted) != NULL);
    }
    EXPECT_EQUAL(n_rows, json_object_size(json_object_get(document, "paths")));
    free(routes);
}

static void predict_lists_every_status_of_the_contract(void)
{
    static const char *const codes[] = {"200", "400", "401", "405", "408", "413",
                                        "415", "422", "429", "500", "503", "504"};
    json_t *responses = json_object_get(operation("/predict", "post"), "responses");

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        EXPECT(json_object_get(responses, codes[i]) != NULL);
}

/* "#/components/schemas/Error" */
static bool is_defined(const char *reference)
{
    char path[128];
    char *rest = path + 2;
    json_t *place = document;

    snprintf(path, sizeof(path), "%s", reference);
    EXPECT(strncmp(path, "#/", 2) == 0);
    while (rest != NULL)
        place = json_object_get(place, strsep(&rest, "/"));
    return place != NULL;
}

static size_t check_references(json_t *value)
{
    size_t n_references = 0, index;
    const char *key;
    json_t *child;

    json_object_foreach(value, key, child)
    {
        if (strcmp(key, "$ref") == 0) {
            if (!is_defined(json_string_value(child)))
                fprintf(stderr, "undefined: %s\n", json_string_value(child));
            EXPECT(is_defined(json_string_value(child)));
            n_references++;
        } else {
            n_references += check_references(child);
        }
    }
    json_array_foreach(value, index, child) n_references += check_references(child);
    return n_references;
}

static void every_reference_is_defined(void)
{
    EXPECT(check_references(document) > 50);
}

int main(void)
{
    json_error_t error;

    document = json_loadb(openapi_json, openapi_json_size, JSON_REJECT_DUPLICATES, &error);
    EXPECT(document != NULL);
    EXPECT_STRING(json_string_value(json_object_get(document, "openapi")), "3.1.0");
    RUN(the_embedded_bytes_are_the_file);
    RUN(every_native_route_is_described);
    RUN(the_frontend_serves_what_is_described_and_nothing_else);
    RUN(predict_lists_every_status_of_the_contract);
    RUN(every_reference_is_defined);
    json_decref(document);
    return 0;
}
