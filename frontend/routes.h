/* Which function answers which request: one table of method, path and handler, matched exactly.
 * libh2o's own path table matches prefixes and knows nothing of methods. */
#ifndef WEIR_FRONTEND_ROUTES_H
#define WEIR_FRONTEND_ROUTES_H

#include "frontend/exchange.h"

struct route {
    const char *method; /* "GET" answers HEAD too */
    const char *path;
    void (*handle)(struct exchange *exchange);
    bool wants_key; /* --api-key */
};

/* Builds libh2o's configuration: everything goes through routes_dispatch(). */
void routes_register(struct server *server);

/* The handlers, one file each. */
void health_handle(struct exchange *exchange);
void health_handle_live(struct exchange *exchange);
void metrics_handle(struct exchange *exchange);
void info_handle(struct exchange *exchange);
void info_handle_openapi(struct exchange *exchange);
void pages_handle_docs(struct exchange *exchange);
void pages_handle_playground(struct exchange *exchange);
void predict_handle(struct exchange *exchange);
void tokenize_handle(struct exchange *exchange);

#endif
