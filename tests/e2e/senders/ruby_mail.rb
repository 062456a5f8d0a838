# ruby_mail.rb SENDER RECIPIENT PORT...: the same message to each port.
require 'mail'

sender, recipient, *ports = ARGV
message = Mail.new(
  from: "Jörg <#{sender}>", to: recipient, subject: 'Grüße', charset: 'UTF-8',
  body: File.read('body', encoding: 'UTF-8')
)
message.add_file('octets.bin')
ports.each do |port|
  message.delivery_method(:smtp, address: '127.0.0.1', port: port, enable_starttls_auto: false)
  message.deliver!
end
