/* GET /docs and GET /: a page of the routes, and a playground. The policy header makes the browser
 * refuse whatever would leave this server. */
#include "frontend/pages.h"

#include "frontend/routes.h"

static void send_page(struct exchange *exchange, const char *page, size_t size)
{
    exchange_add_header(
        exchange, "content-security-policy",
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'");
    exchange_add_header(exchange, "x-content-type-options", "nosniff");
    exchange_send(exchange, HTTP_OK, "text/html; charset=utf-8", page, size);
}

void pages_handle_docs(struct exchange *exchange)
{
    send_page(exchange, page_docs, page_docs_size);
}

void pages_handle_playground(struct exchange *exchange)
{
    send_page(exchange, page_playground, page_playground_size);
}
