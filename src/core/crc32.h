/*
 * The usual CRC-32 (reflected, polynomial 0xedb88320), as zlib and gzip have it. It finds mistyped
 * text, and protects nothing.
 */
#ifndef CORE_CRC32_H
#define CORE_CRC32_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32_of(const char *p, size_t n);

#endif
