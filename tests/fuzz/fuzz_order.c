/* The order a shim takes: any bytes are taken whole or refused. */
#include "base/error.h"
#include "launch/order.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct order order;
    size_t body;
    char *copy;

    if (n >= ORDER_HEADER_BYTES)
        (void)order_decode_header((const char *)data, &body);
    copy = malloc(n + 1);
    ENSURE(copy != NULL);
    memcpy(copy, data, n);
    if (order_decode(copy, n, &order))
        ENSURE(order.env_n <= ORDER_MAX_ENV);
    free(copy);
    return 0;
}
