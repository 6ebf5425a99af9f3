import _socket  # as the launcher does it: the module around it takes an emulated guest a second to import

listener = _socket.socket()
listener.bind(("127.0.0.1", 8080))
listener.listen(4)
answers = ["200 OK"]
while True:
    connection = _socket.socket(fileno=listener._accept()[0])
    asked = connection.recv(1000).split(b" ")[1].decode()
    said = answers.pop() if answers else "503 Service Unavailable"
    print(f"frail: {asked}: {said}", flush=True)
    connection.send(f"HTTP/1.0 {said}\r\n\r\n".encode())
    connection.close()
