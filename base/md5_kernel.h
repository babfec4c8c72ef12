// Inside base/md5_lanes: the compression function of MD5 over the lanes of one kind of vectors. The files
// that define these are compiled for CPUs that not all machines have; they include nothing whose inline
// functions others share.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace narthex::md5 {

// Runs `blocks` blocks of 64 bytes of every lane's data. `state`: 4 words, each of all lanes in order.
using Kernel = void (*)(uint32_t* state, const unsigned char* const* data, size_t blocks);

void Blocks8(uint32_t* state, const unsigned char* const* data, size_t blocks);   // needs AVX2
void Blocks16(uint32_t* state, const unsigned char* const* data, size_t blocks);  // needs AVX-512F

}  // namespace narthex::md5
