/* Text put together piece by piece. */
#include "frontend/text.h"
#include "tests/frontend/arena.h"
#include "tests/test.h"

static void pieces_follow_each_other(void)
{
    struct response_buffer buffer = {.allocate = arena_allocate};
    text_append(&buffer, "{");
    text_append_json(&buffer, "a\"\n");
    text_append_format(&buffer, ":%d", 5);
    text_append(&buffer, "");
    response_append(&buffer, "}", 2);
    EXPECT_STRING(buffer.bytes, "{\"a\\\"\\n\":5}");
}

static void what_is_not_utf8_becomes_question_marks(void)
{
    struct response_buffer buffer = {.allocate = arena_allocate};
    text_append_json_bytes(&buffer, "\xc3\xa9", 2);
    text_append_json_bytes(&buffer, "a\xc3\"", 3);
    text_append_json_bytes(&buffer, NULL, 0);
    response_append(&buffer, "", 1);
    EXPECT_STRING(buffer.bytes, "\"\xc3\xa9\"\"a?\\\"\"\"\"");
}

static void a_piece_may_be_as_long_as_its_limit(void)
{
    struct response_buffer buffer = {.allocate = arena_allocate};
    char longest[TEXT_PIECE_BYTES_MAX];
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    text_append_format(&buffer, "%s", longest);
    EXPECT_EQUAL(buffer.size, TEXT_PIECE_BYTES_MAX - 1);
}

int main(void)
{
    RUN(pieces_follow_each_other);
    RUN(what_is_not_utf8_becomes_question_marks);
    RUN(a_piece_may_be_as_long_as_its_limit);
    return 0;
}
