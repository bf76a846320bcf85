-- wrk connects to 127.0.0.1 while it sends the name in the URL (SNI): not every resolver has names under localhost.
function wrk.resolve(host, service)
   wrk.addrs = wrk.lookup("127.0.0.1", service)
end
