#include "host/options.hpp"

#include <iostream>

#include "core/base/error.hpp"

namespace nemo::host {

namespace po = boost::program_options;

Parsed parse(const std::vector<std::string>& arguments, const std::string& usage, const po::options_description& options) {
  po::options_description all;
  all.add(options).add_options()("help,h", "explain this command")("positional", po::value<std::vector<std::string>>());
  po::positional_options_description positional;
  positional.add("positional", -1);
  Parsed parsed;
  try {
    po::store(po::command_line_parser(arguments).options(all).positional(positional).run(), parsed.values);
    po::notify(parsed.values);
  } catch (const po::error& e) {
    throw Error(Code::kConfig, std::string(e.what()) + "\nusage: " + usage);
  }
  if (parsed.values.count("positional")) parsed.positional = parsed.values["positional"].as<std::vector<std::string>>();
  parsed.help = parsed.values.count("help") > 0;
  if (parsed.help) std::cout << "usage: " << usage << "\n\n" << options << "\n";
  return parsed;
}

void require_overrides(const std::vector<std::string>& positional) {
  for (const std::string& p : positional)
    if (p.find('=') == std::string::npos)
      throw Error(Code::kConfig, "'" + p + "' is neither an option nor an override; overrides are written section.key=value");
}

}  // namespace nemo::host
