// Takes the place of sentencepiece_tokenizer.cpp where the build found no libsentencepiece.
#include "core/base/error.hpp"
#include "core/text/sentencepiece_tokenizer.hpp"

namespace nemo::text {

std::unique_ptr<Tokenizer> make_sentencepiece(std::vector<TokenizerFile>, const std::string& where) {
  throw Error(
      Code::kUnsupported,
      where + ": this nemo-host was built without libsentencepiece; install libsentencepiece-dev and build again, or use a tokenizer.json");
}

}  // namespace nemo::text
