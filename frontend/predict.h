/* POST /predict: from a body to slots in the lane, and from logits to an answer. Everything that
 * can refuse a request comes before the work it would cost: media type, body, admission, length. */
#ifndef WEIR_FRONTEND_PREDICT_H
#define WEIR_FRONTEND_PREDICT_H

#include "frontend/exchange.h"

struct pending;

/* All texts are back: formats and sends the answer. */
void predict_answer(struct pending *pending);

/* Shared with POST /tokenize: decides the encodings of body and answer. False: the exchange has
 * been answered. */
bool predict_read_media(struct exchange *exchange, enum request_encoding *encoding);
/* Answers what proto/ refused. */
void predict_refuse(struct exchange *exchange, const struct request_error *error);

#endif
