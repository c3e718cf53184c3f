/* What nginx looks up in a dynamic module; its configure would have made this file. */

#include <ngx_config.h>
#include <ngx_core.h>

extern ngx_module_t ngx_http_purser_module;

/* Visible, unlike everything else in this module. */
#define EXPORT __attribute__((visibility("default")))

EXPORT ngx_module_t *ngx_modules[] = {&ngx_http_purser_module, NULL};
EXPORT char *ngx_module_names[] = {"ngx_http_purser_module", NULL};
/* Before gzip, chunked and HTTP/2 framing: our filter sees the vendor's plain bytes. */
EXPORT char *ngx_module_order[] = {"ngx_http_purser_module", "ngx_http_copy_filter_module", NULL};
