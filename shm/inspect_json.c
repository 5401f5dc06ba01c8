/* JSON pieces that several commands print. */
#include "shm/inspect.h"
#include <stdio.h>

void inspect_json_add(json_t *object, const char *key, json_t *value)
{
    CHECK(json_object_set_new(object, key, value) == 0); /* else there is no memory */
}

void inspect_json_add_integer(json_t *object, const char *key, uint64_t value)
{
    inspect_json_add(object, key, inspect_json_integer(value));
}

json_t *inspect_json_integer(uint64_t value)
{
    /* JSON integers end at 2^63 - 1 here; only a damaged segment has larger ones. */
    return json_integer((json_int_t)min_u64(value, INT64_MAX));
}

json_t *inspect_json_text(const char *text)
{
    char printable[ERROR_BYTES];
    inspect_printable(printable, sizeof(printable), text);
    return json_string(printable);
}

json_t *inspect_json_age(uint64_t now_ns, uint64_t then_ns)
{
    return then_ns == 0 ? json_null() : inspect_json_integer(inspect_age_ns(now_ns, then_ns));
}

json_t *inspect_json_process(const struct inspect_process *process, uint64_t now_ns)
{
    const struct process_view *view = &process->view;
    json_t *json = json_object();
    inspect_json_add(json, "state", json_string(inspect_process_state(process->state)));
    inspect_json_add_integer(json, "pid", view->pid);
    inspect_json_add(json, "alive", json_boolean(process->alive));
    inspect_json_add(json, "started_age_ns", inspect_json_age(now_ns, view->started_ns));
    inspect_json_add(json, "heartbeat_age_ns", inspect_json_age(now_ns, view->heartbeat_ns));
    inspect_json_add(json, "last_batch_age_ns", inspect_json_age(now_ns, view->last_batch_ns));
    inspect_json_add(json, "description", inspect_json_text(view->description));
    inspect_json_add(json, "last_words", inspect_json_text(view->last_words));
    return json;
}

int inspect_json_print(json_t *json)
{
    CHECK(json); /* NULL: no memory, or a json_pack() that does not fit its arguments */
    json_dumpf(json, stdout, JSON_COMPACT);
    printf("\n");
    json_decref(json);
    return INSPECT_EXIT_OK;
}
