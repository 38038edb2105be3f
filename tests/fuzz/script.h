/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A fuzzer's input, read as a script from front to back: after its end every byte is 0. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct script {
        const uint8_t *next;
        size_t left;
};

static inline bool script_goes_on(const struct script *script) {
        return script->left > 0;
}

/* Copies `size` bytes, 0 after the end. */
static inline void script_read(struct script *script, void *bytes, size_t size) {
        size_t n = size < script->left ? size : script->left;

        memset(bytes, 0, size);
        if (n > 0)
                memcpy(bytes, script->next, n);
        script->next += n;
        script->left -= n;
}

static inline uint8_t script_byte(struct script *script) {
        uint8_t byte;

        script_read(script, &byte, 1);
        return byte;
}

/* 0 to n - 1. */
static inline unsigned script_choose(struct script *script, unsigned n) {
        return script_byte(script) % n;
}

/* Called by libFuzzer, in every target. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
