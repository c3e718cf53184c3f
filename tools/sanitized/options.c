/*
 * Linked into programs that are built with sanitizers. A shim starts with an empty environment and
 * /dev/null as its stderr: what is found in it is fatal and kept in a file all the same. The
 * variables ASAN_OPTIONS and UBSAN_OPTIONS say otherwise where they are.
 */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__ubsan_default_options(void);

const char *
__asan_default_options(void)
{
    return "abort_on_error=1:detect_leaks=1:log_exe_name=1:log_path=" SANITIZER_REPORTS "/report";
}

/* gcc's runtime has no file for these. */
const char *
__ubsan_default_options(void)
{
    return "halt_on_error=1:abort_on_error=1:print_stacktrace=1";
}
