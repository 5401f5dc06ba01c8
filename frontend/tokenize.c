/* POST /tokenize: the tokens of texts, as Text Embeddings Inference answers them: a list of lists
 * of
 * {"id","text","special","start","stop"}, where text is the piece of the input that became the
 * token, and start and stop are byte offsets into it. Special tokens have no place: null. JSON
 * only.
 *
 * A token takes up to 90 bytes of answer, made in the loop, so --tokenize-payload-limit is below
 * --payload-limit: it bounds the answer, and the time that others wait. */
#include "frontend/predict.h"
#include "frontend/routes.h"
#include "frontend/text.h"
#include "frontend/tokenizer.h"

struct emitter {
    struct response_buffer *body;
    const struct tokenizer *tokenizer;
    const struct request_text *text;
    bool any;
};

static void emit_token(void *context, const struct tokenizer_token *token)
{
    struct emitter *emitter = context;
    struct response_buffer *body = emitter->body;
    bool has_place = token->start < token->stop && token->stop <= emitter->text->text_bytes;
    text_append_format(body, "%s{\"id\":%u,\"text\":", emitter->any ? "," : "", token->id);
    emitter->any = true;
    if (token->special || !has_place) {
        struct tokenizer_string word = tokenizer_token_text(emitter->tokenizer, token->id);
        response_append_json_string(body, word.bytes, word.size);
    } else {
        response_append_json_string(body, emitter->text->text + token->start,
                                    token->stop - token->start);
    }
    if (has_place)
        text_append_format(body, ",\"special\":%s,\"start\":%u,\"stop\":%u}",
                           token->special ? "true" : "false", token->start, token->stop);
    else
        text_append_format(body, ",\"special\":%s,\"start\":null,\"stop\":null}",
                           token->special ? "true" : "false");
}

static bool append_tokens(struct response_buffer *body, struct server *server,
                          const struct predict_request *request, bool add_special_tokens)
{
    text_append(body, "[");
    for (uint32_t i = 0; i < request->n_texts; i++) {
        const struct request_text *text = &request->texts[i];
        struct emitter emitter = {body, server->tokenizer, text, false};
        text_append(body, i == 0 ? "[" : ",[");
        if (tokenizer_explain(server->tokenizer, text->text, text->text_bytes, add_special_tokens,
                              emit_token, &emitter) != 0)
            return false;
        text_append(body, "]");
    }
    text_append(body, "]");
    return true;
}

void tokenize_handle(struct exchange *exchange)
{
    struct server *server = exchange->server;
    h2o_iovec_t bytes = exchange->request->entity;
    enum request_encoding encoding;
    struct predict_request request;
    struct request_error error;
    bool add_special_tokens = true;
    if (!predict_read_media(exchange, &encoding))
        return;
    exchange->answer_encoding = REQUEST_JSON;
    if (bytes.len > server->settings->tokenize_payload_limit) {
        exchange_send_error(exchange, HTTP_TOO_LARGE,
                            "the body has %zu bytes, /tokenize takes at most %u "
                            "(--tokenize-payload-limit)",
                            bytes.len, server->settings->tokenize_payload_limit);
        return;
    }
    if (request_parse_tokenize(server->parser, encoding, bytes.base, bytes.len, &request,
                               &add_special_tokens, &error) != REQUEST_OK) {
        predict_refuse(exchange, &error);
        return;
    }
    struct response_buffer body = exchange_buffer(exchange);
    if (append_tokens(&body, server, &request, add_special_tokens))
        exchange_send_buffer(exchange, HTTP_OK, &body, REQUEST_JSON);
    else
        exchange_send_error(exchange, HTTP_INTERNAL, "out of memory while tokenizing");
}
