// Takes everything from this process that decoding does not need.
#pragma once

namespace narthex::pixels {

// After it the process can compute, take memory up to limits::kPixelDecoderMemoryBytes, read and write the
// descriptors it has, and end; opening files, sockets and starting programs fail. False: the kernel refused,
// and the process must end. To be called once, by the only thread.
bool EnterSandbox();

}  // namespace narthex::pixels
