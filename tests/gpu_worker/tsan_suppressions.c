/* oneDNN is not built with the thread sanitizer, which therefore does not see the atomics of its
 * primitive cache and reports races inside it. Our own threads are watched as everywhere. */
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:libdnnl.so\n"
           "race:libdnnl.so\n";
}
