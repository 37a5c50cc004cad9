#include "core/text/tokenizer_handle.hpp"

#include "core/base/error.hpp"

namespace nemo::text {
namespace {

nemo_code to_nemo_code(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return NEMO_CODE_INVALID_ARGUMENT;
    case Code::kConfig:
      return NEMO_CODE_CONFIG_INVALID;
    case Code::kNotFound:
      return NEMO_CODE_NOT_FOUND;
    case Code::kDataLoss:
      return NEMO_CODE_DATA_LOSS;
    case Code::kUnsupported:
      return NEMO_CODE_UNSUPPORTED;
    case Code::kOutOfMemory:
      return NEMO_CODE_OUT_OF_MEMORY;
    case Code::kCancelled:
      return NEMO_CODE_CANCELLED;
    case Code::kDevice:
      return NEMO_CODE_DEVICE_ERROR;
    case Code::kPeer:
      return NEMO_CODE_PEER_FAILED;
    case Code::kInternal:
      return NEMO_CODE_INTERNAL;
  }
  return NEMO_CODE_INTERNAL;
}

// An error that the caller's own sink returned goes back to the caller as it is.
struct SinkError {
  nemo_error* error;
};

void write(const nemo_sink& sink, const void* bytes, size_t len) {
  if (nemo_error* error = sink.write(sink.ctx, bytes, len)) throw SinkError{error};
}

template <class Body>
nemo_error* guarded(const nemo_tokenizer* tokenizer, Body&& body) noexcept {
  const TokenizerHandle& handle = TokenizerHandle::from(tokenizer);
  try {
    body(handle.tokenizer());
    return nullptr;
  } catch (const SinkError& e) {
    return e.error;
  } catch (const Error& e) {
    return handle.error(to_nemo_code(e.code()), e.what());
  } catch (const std::bad_alloc&) {
    return handle.error(NEMO_CODE_OUT_OF_MEMORY, "tokenizer: out of host memory");
  } catch (const std::exception& e) {
    return handle.error(NEMO_CODE_INTERNAL, e.what());
  }
}

}  // namespace

nemo_error* TokenizerHandle::error(nemo_code code, std::string_view message) const {
  return api_.error_new(host_, code, {message.data(), message.size()});
}

const nemo_tokenizer_api& tokenizer_api() {
  static const nemo_tokenizer_api api = {
      sizeof(nemo_tokenizer_api),
      0,
      [](const nemo_tokenizer* t) { return TokenizerHandle::from(t).tokenizer().vocab_size(); },
      [](const nemo_tokenizer* t) { return TokenizerHandle::from(t).tokenizer().bos(); },
      [](const nemo_tokenizer* t) { return TokenizerHandle::from(t).tokenizer().eos(); },
      [](const nemo_tokenizer* t, nemo_str text, nemo_sink ids) {
        return guarded(t, [&](const Tokenizer& tokenizer) {
          tokenizer.encode_to({text.ptr, text.len}, [&](std::span<const int32_t> piece) { write(ids, piece.data(), piece.size_bytes()); });
        });
      },
      [](const nemo_tokenizer* t, const int32_t* ids, uint64_t n, nemo_sink text) {
        return guarded(t, [&](const Tokenizer& tokenizer) {
          const std::string decoded = tokenizer.decode({ids, n});
          write(text, decoded.data(), decoded.size());
        });
      },
  };
  return api;
}

}  // namespace nemo::text
