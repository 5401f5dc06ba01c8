/* The table of routes.h, and what must be true before a handler runs. */
#include "frontend/routes.h"

#include <string.h>
#include <strings.h>

#include "frontend/connection.h"

static const struct route routes[] = {
    {"POST", "/predict", predict_handle, true},
    {"POST", "/tokenize", tokenize_handle, true},
    {"GET", "/health", health_handle, false},
    {"GET", "/healthz", health_handle, false},
    {"GET", "/ready", health_handle, false},
    {"GET", "/live", health_handle_live, false},
    {"GET", "/metrics", metrics_handle, false},
    {"GET", "/info", info_handle, false},
    {"GET", "/openapi.json", info_handle_openapi, false},
    {"GET", "/docs", pages_handle_docs, false},
    {"GET", "/", pages_handle_playground, false},
};

/* The two that the settings may add; their paths are the settings' strings. */
static const struct route health_route = {"GET", NULL, health_handle, false};
static const struct route predict_route = {"POST", NULL, predict_handle, true};

static bool iovec_is(h2o_iovec_t bytes, const char *text)
{
    return bytes.len == strlen(text) && memcmp(bytes.base, text, bytes.len) == 0;
}

static bool method_fits(const struct route *route, h2o_iovec_t method)
{
    return iovec_is(method, route->method) ||
           (iovec_is(method, "HEAD") && strcmp(route->method, "GET") == 0);
}

/* What a path allows, and the route for the method if there is one. */
struct match {
    const struct route *route;
    bool get, post;
};

/* The bytes of "http://" or "https://" in front of a target, 0 when it is not a whole URL. */
static size_t scheme_size(h2o_iovec_t target)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < ARRAY_COUNT(schemes); i++) {
        size_t size = strlen(schemes[i]);
        if (target.len >= size && strncasecmp(target.base, schemes[i], size) == 0)
            return size;
    }
    return 0;
}

/* The path that is asked for, normalized and without its query. RFC 9112 section 3.2.2 wants the
 * absolute form (POST http://host/predict) understood, which libh2o 2.2.5 takes for a path. The
 * host in it counts as little as the header's. False: a URL without a host. */
static bool path_of(h2o_req_t *request, h2o_iovec_t *path)
{
    h2o_iovec_t target = request->path;
    size_t start = scheme_size(target), end = start, query_at, *indexes;
    *path = request->path_normalized;
    if (start == 0)
        return true;
    while (end < target.len && target.base[end] != '/' && target.base[end] != '?')
        end++;
    *path = h2o_url_normalize_path(&request->pool, target.base + end, target.len - end, &query_at,
                                   &indexes);
    return end > start;
}

static void consider(struct match *match, const struct route *route, const char *path,
                     h2o_iovec_t asked, h2o_iovec_t method)
{
    if (!iovec_is(asked, path))
        return;
    if (strcmp(route->method, "GET") == 0)
        match->get = true;
    else
        match->post = true;
    if (match->route == NULL && method_fits(route, method))
        match->route = route;
}

static struct match find(const struct settings *settings, h2o_iovec_t path, h2o_iovec_t method)
{
    struct match match = {0};
    for (size_t i = 0; i < ARRAY_COUNT(routes); i++)
        consider(&match, &routes[i], routes[i].path, path, method);
    if (settings->health_route[0] != '\0')
        consider(&match, &health_route, settings->health_route, path, method);
    if (settings->predict_route[0] != '\0')
        consider(&match, &predict_route, settings->predict_route, path, method);
    return match;
}

/* OPTIONS * asks about the server as a whole (RFC 9110 section 9.3.7). */
static bool asks_about_all(const h2o_req_t *request)
{
    return iovec_is(request->path, "*") && iovec_is(request->method, "OPTIONS");
}

static const char *allowed_methods(const struct match *match)
{
    return match->get && match->post ? "GET, HEAD, POST, OPTIONS"
           : match->get              ? "GET, HEAD, OPTIONS"
                                     : "POST, OPTIONS";
}

/* OPTIONS says what may be asked, and no more: load balancers look by it whether a server speaks
 * HTTP (HAProxy's httpchk sends OPTIONS /). Whether it should get requests is what /ready says. */
static void answer_without_route(struct exchange *exchange, const struct match *match)
{
    const char *allowed = allowed_methods(match);
    exchange_add_header(exchange, "allow", allowed);
    if (iovec_is(exchange->request->method, "OPTIONS"))
        exchange_send(exchange, HTTP_OK, "text/plain", "", 0);
    else
        exchange_send_error(exchange, HTTP_METHOD_NOT_ALLOWED, "this path answers %s only",
                            allowed);
}

static bool key_is_right(struct exchange *exchange)
{
    const char *key = exchange->server->settings->api_key;
    return key[0] == '\0' ||
           negotiate_bearer_matches(exchange_header(exchange, "authorization"), key);
}

static void dispatch(struct exchange *exchange)
{
    h2o_iovec_t path;
    if (!path_of(exchange->request, &path)) {
        exchange_send_error(exchange, HTTP_BAD_REQUEST, "the URL in the request line has no host");
        return;
    }
    struct match match = {.get = true, .post = true};
    if (!asks_about_all(exchange->request))
        match = find(exchange->server->settings, path, exchange->request->method);
    if (match.route == NULL && !match.get && !match.post) {
        exchange_send_error(exchange, HTTP_NOT_FOUND,
                            "nothing is served at this path; POST /predict answers predictions");
    } else if (match.route == NULL) {
        answer_without_route(exchange, &match);
    } else if (match.route->wants_key && !key_is_right(exchange)) {
        exchange_add_header(exchange, "www-authenticate", "Bearer");
        exchange_send_error(exchange, HTTP_UNAUTHORIZED,
                            "this server wants the header Authorization: Bearer KEY");
    } else {
        exchange->route = match.route;
        match.route->handle(exchange);
    }
}

/* libh2o calls this for every request it could read. */
static int on_request(h2o_handler_t *handler, h2o_req_t *request)
{
    struct server *server = exchange_server(handler);
    struct exchange *exchange = exchange_begin(server, request);
    connection_request_begins(exchange->connection, request);
    if (request->entity.len > server->settings->payload_limit) {
        request->http1_is_persistent = 0;
        exchange_send_error(exchange, HTTP_TOO_LARGE,
                            "the body has %zu bytes, the limit is %u (--payload-limit)",
                            request->entity.len, server->settings->payload_limit);
    } else {
        dispatch(exchange);
    }
    return 0;
}

void routes_register(struct server *server)
{
    h2o_hostconf_t *host =
        h2o_config_register_host(&server->config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    exchange_register(server, &host->fallback_path, on_request);
}
