/* The table of statuses. */
#include "frontend/status.h"
#include "tests/test.h"

static void every_status_of_the_contract_is_in_the_table(void)
{
    static const int codes[] = {200, 400, 401, 404, 405, 408, 413,
                                415, 422, 429, 499, 500, 503, 504};
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++)
        EXPECT_EQUAL(http_status_words(codes[i])->code, codes[i]);
}

static void what_is_not_in_the_table_counts_as_our_own_fault(void)
{
    EXPECT_EQUAL(http_status_words(418)->code, HTTP_INTERNAL);
    EXPECT_EQUAL(http_status_words(0)->counter, STATS_RESPONSES_FAILED);
}

int main(void)
{
    RUN(every_status_of_the_contract_is_in_the_table);
    RUN(what_is_not_in_the_table_counts_as_our_own_fault);
    return 0;
}
