// Runs a fuzzer's entry point without libFuzzer: over the files of a folder, each as it is and with random
// damage, then over random bytes. The damage is the same every time.
//
//   NAME_mutations FOLDER [MUTATIONS_A_FILE [SEED]]
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" __attribute__((weak)) int LLVMFuzzerInitialize(int* argc, char*** argv);

namespace {

void Run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

std::string Damaged(std::string input, const std::vector<std::string>& all, std::mt19937& random) {
  const auto below = [&](size_t n) { return n == 0 ? 0 : random() % n; };
  for (size_t change = 1 + below(4); change > 0 && !input.empty(); --change) {
    const size_t at = below(input.size());
    switch (below(6)) {
      case 0:
        input[at] = static_cast<char>(random());
        break;
      case 1:
        input[at] = static_cast<char>(input[at] ^ 1 << below(8));
        break;
      case 2:
        input.erase(at, below(16));
        break;
      case 3:
        input.insert(at, below(16), static_cast<char>(random()));
        break;
      case 4:
        input.resize(at);
        break;
      default:
        const std::string& other = all[below(all.size())];
        const size_t from = below(other.size());
        input.insert(at, other, from, below(64));
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 64;
  if (LLVMFuzzerInitialize != nullptr) LLVMFuzzerInitialize(&argc, &argv);
  const int mutations = argc > 2 ? std::atoi(argv[2]) : 200;
  const unsigned seed = argc > 3 ? static_cast<unsigned>(std::atoi(argv[3])) : 1;
  std::vector<std::string> inputs;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    std::ifstream in(entry.path(), std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  if (inputs.empty()) return 66;
  std::sort(inputs.begin(), inputs.end());
  std::mt19937 random(seed);
  int runs = 0;
  for (const std::string& input : inputs) {
    Run(input);
    for (int i = 0; i < mutations; ++i, ++runs) Run(Damaged(input, inputs, random));
  }
  for (int i = 0; i < mutations; ++i, ++runs) {
    std::string noise(random() % 300, '\0');
    std::generate(noise.begin(), noise.end(), [&] { return static_cast<char>(random()); });
    Run(noise);
  }
  std::printf("%d inputs\n", runs);
  return 0;
}
