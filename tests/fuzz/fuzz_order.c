/*
 * What purserd and a shim send each other: any bytes are taken whole or refused, and what is taken
 * points into them.
 */
#include "launch/control.h"
#include "launch/order.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check_inside(const char *s, const char *body, size_t n)
{
    ENSURE(s >= body && s < body + n && memchr(s, '\0', (size_t)(body + n - s)) != NULL);
}

static void
check_order(const struct order *o, const char *body, size_t n)
{
    check_inside(o->run_dir, body, n);
    check_inside(o->state_dir, body, n);
    check_inside(o->home, body, n);
    check_inside(o->work_dir, body, n);
    check_inside(o->sandbox, body, n);
    if (order_is_container(o)) {
        check_inside(o->container.image, body, n);
        check_inside(o->container.network, body, n);
        ENSURE(o->container.engine[0] == '/' && o->container.init[0] == '/');
    }
    ENSURE(o->argv_n > 0 && o->argv_n <= ORDER_MAX_ARGS && o->argv[o->argv_n] == NULL);
    for (size_t i = 0; i < o->argv_n; i++)
        check_inside(o->argv[i], body, n);
    ENSURE(o->env_n <= ORDER_MAX_ENV && o->envp[o->env_n] == NULL);
    for (size_t i = 0; i < o->env_n; i++)
        ENSURE(strlen(o->envp[i]) == o->env[i].name_n + 1 + o->env[i].value_n &&
            order_env_value(o, i).p[-1] == '=');
    for (size_t i = 0; i < o->files_n; i++)
        ENSURE(o->files[i].content.p + o->files[i].content.n <= body + n &&
            o->files[i].path[0] != '/' && strstr(o->files[i].path, "..") == NULL);
}

static void
check_small(const uint8_t *data, size_t n)
{
    struct control_request request;
    struct order_answer answer;
    struct record record;
    size_t body;

    if (n >= ORDER_HEADER_BYTES && order_decode_header((const char *)data, &body))
        ENSURE(body <= ORDER_MAX_BODY_BYTES);
    if (n >= ORDER_ANSWER_BYTES)
        (void)order_answer_decode(data, &answer);
    (void)record_decode(data, n, &record);
    if (control_decode(data, n, &request) && request.command == CONTROL_STOP)
        ENSURE(request.argument >= 0 && request.argument <= CONTROL_MAX_GRACE_MS);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct order order;
    char *copy = malloc(n + (n == 0)); /* no byte behind it: reading on is seen */

    ENSURE(copy != NULL);
    memcpy(copy, data, n);
    check_small((const uint8_t *)copy, n);
    if (order_decode(copy, n, &order))
        check_order(&order, copy, n);
    free(copy);
    return 0;
}
