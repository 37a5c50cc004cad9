// host/options.hpp - Boost.Program_options with our conventions: positional key=value overrides, --help, one clear error.
#pragma once

#include <string>
#include <vector>

#include <boost/program_options.hpp>

namespace nemo::host {

struct Parsed {
  boost::program_options::variables_map values;
  std::vector<std::string> positional;
  bool help = false;
};

// Parses; with --help prints `usage` and the options. Throws nemo::Error(kConfig) for unknown or malformed options.
[[nodiscard]] Parsed parse(const std::vector<std::string>& arguments, const std::string& usage,
                           const boost::program_options::options_description& options);

// Splits positional arguments: all must be overrides "a.b=value". Throws nemo::Error(kConfig) otherwise.
void require_overrides(const std::vector<std::string>& positional);

}  // namespace nemo::host
